"""The epilogue question: a batch of hidden states on the device becomes rows in main memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import nestvec
from benchmarks.gpu.counts import others
from benchmarks.gpu.peers import torch_copy, torch_pooling
from benchmarks.gpu.question import NESTVEC, Array, Contender, Setting

FULL_BATCH, TINY_BATCH = (256, 128, 384), (9, 5, 16)
BUFFERS = 8  # batches of hidden states, which calls take in turn: 200 MB, more than an L2 cache
PRECISIONS = {"ubinary": "packed bits", "float32": "float32"}


def settings(batch: tuple[int, int, int], peers: Mapping[str, Any], is_known: bool) -> Iterator[Setting]:
    """float16 hidden states on the device: mean of the tokens, unit length, codes in main memory."""
    texts, tokens, dim = batch
    rng = np.random.default_rng(3)
    base = rng.standard_normal(batch, np.float32)
    hidden = [np.roll(base, i, axis=2).astype(np.float16) for i in range(BUFFERS)]
    lengths = rng.integers(1, tokens + 1, texts)
    lengths[: texts // 2] = tokens  # half of the texts have no padding
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    pipeline = nestvec.Pipeline([nestvec.Pooling(["mean"]), nestvec.Normalize()], dim)
    states, kept = [nestvec.DeviceArray(array) for array in hidden], nestvec.DeviceArray(mask)
    floors = {other.example.split()[-1]: other.floor()[0] for other in others() if other.kernel == "pooled_rows"}
    for precision, words in PRECISIONS.items():
        expected = pipeline(hidden[0], mask, precision=precision)

        def on_device(i: int, precision: str = precision) -> Array:
            rows: Array = pipeline(states[i], kept, precision=precision).numpy()
            return rows

        def on_cpu(hidden: Array, mask: Array, precision: str = precision) -> Array:
            return pipeline(hidden, mask, precision=precision)

        def compare(name: str, answer: Array, expected: Array = expected, precision: str = precision) -> str:
            if name == NESTVEC:
                assert np.array_equal(answer, expected), "codes differ from the CPU's"
                return "equal to the CPU"
            if precision == "ubinary":
                same = 1 - np.unpackbits(answer ^ expected).mean()
                assert same > 0.99, f"only {same:.2%} of the bits are the same"
                return f"{same:.2%} of the bits"
            largest = float(np.abs(answer - expected).max())
            assert largest < 1e-3, f"differs by {largest:g}"
            return f"within {largest:.1g}"

        contenders = [Contender(NESTVEC, on_device)]
        if torch := peers.get("torch"):
            contenders.append(torch_pooling(torch, hidden, mask, precision == "ubinary"))
            contenders.append(torch_copy(torch, hidden, mask, on_cpu))
        whole = batch == FULL_BATCH and is_known
        yield Setting(
            f"epilogue, {texts} x {tokens} x {dim} float16 to {words}",
            contenders,
            compare,
            work=texts,
            nbytes=float(mask.sum()) * dim * 2,
            floor=floors["bits" if precision == "ubinary" else "float32"] * mask.mean() if whole else None,
        )
