"""The epilogue that gpu.py asks for: what a service does with the hidden states of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gpu_peers
import numpy as np
from gpu_floors import others
from gpu_question import OWN, Array, Contender, Setting

import nestvec

FULL_BATCH, TINY_BATCH = (256, 128, 384), (9, 5, 16)
BUFFERS = 8  # batches of hidden states that calls take in turn: 200 MB, more than an L2 cache
PRECISIONS = {"ubinary": "packed bits", "float32": "float32"}


def settings(batch: tuple[int, int, int], peers: Mapping[str, Any], is_known: bool) -> Iterator[Setting]:
    """Mean of the tokens, unit length, codes in main memory: of float16 hidden states that lie on the device."""
    texts, tokens, dim = batch
    rng = np.random.default_rng(3)
    base = rng.standard_normal(batch, np.float32)
    hidden = [np.roll(base, i, axis=2).astype(np.float16) for i in range(BUFFERS)]
    lengths = rng.integers(1, tokens + 1, texts)
    lengths[: texts // 2] = tokens  # half of the texts have no padding
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    pipeline = nestvec.Pipeline([nestvec.Pooling(["mean"]), nestvec.Normalize()], dim)
    states, kept = [nestvec.DeviceArray(one) for one in hidden], nestvec.DeviceArray(mask)
    floors = {other.example.split()[-1]: other.floor()[0] for other in others() if other.kernel == "pooled_rows"}
    for precision, words in PRECISIONS.items():
        wanted = pipeline(hidden[0], mask, precision=precision)

        def own(i: int, precision: str = precision) -> Array:
            rows: Array = pipeline(states[i], kept, precision=precision).numpy()
            return rows

        def on_cpu(one: Array, mask: Array, precision: str = precision) -> Array:
            return pipeline(one, mask, precision=precision)

        def compare(name: str, answer: Array, wanted: Array = wanted, precision: str = precision) -> str:
            if name == OWN:
                assert np.array_equal(answer, wanted), "codes differ from the CPU's"
                return "equal to the CPU"
            if precision == "ubinary":
                same = 1 - np.unpackbits(answer ^ wanted).mean()
                assert same > 0.99, f"only {same:.2%} of the bits are the same"
                return f"{same:.2%} of the bits"
            largest = float(np.abs(answer - wanted).max())
            assert largest < 1e-3, f"differs by {largest:g}"
            return f"within {largest:.1g}"

        contenders = [Contender(OWN, own)]
        if torch := peers.get("torch"):
            contenders.append(gpu_peers.torch_pooling(torch, hidden, mask, precision == "ubinary"))
            contenders.append(gpu_peers.torch_copy(torch, hidden, mask, on_cpu))
        whole = batch == FULL_BATCH and is_known
        yield Setting(
            f"epilogue, {texts} x {tokens} x {dim} float16 to {words}",
            contenders,
            compare,
            work=texts,
            nbytes=float(mask.sum()) * dim * 2,
            floor=floors["bits" if precision == "ubinary" else "float32"] * mask.mean() if whole else None,
        )
