"""The peers on a GPU, each optional: torch, cupy, faiss and cuVS on the same rows, with the calls of a user.

None of this has run on a GPU yet. torch runs on the CPU as well, which tests the script.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.gpu.question import Answer, Array, Contender

PACKAGES = {
    "torch": ("torch",),
    "cupy": ("cupy", "cupy-cuda13x", "cupy-cuda12x"),
    "faiss": ("faiss-gpu-cuvs", "faiss-gpu-cu12", "faiss-gpu", "faiss"),
    "cuvs": ("cuvs", "cuvs-cu13", "cuvs-cu12"),
}
Maker = Callable[[Sequence[Array], int], Contender]  # of batches of queries and k
MOST_SCORE_BYTES = 1 << 31  # scores that one product writes; more queries are split into groups


def installed() -> tuple[dict[str, Any], dict[str, str]]:
    """The peers that can be used, and for every peer its version or the reason why it cannot."""
    modules, words = {}, {}
    for name, packages in PACKAGES.items():
        try:
            module = importlib.import_module("cuvs.neighbors.brute_force" if name == "cuvs" else name)
        except ImportError:
            words[name] = "not installed"
            continue
        except Exception as error:  # a library that loads others may raise anything
            words[name] = f"fails to load: {error!r:.80}"
            continue
        words[name] = _version(packages) or getattr(module, "__version__", "installed")
        if name == "torch" and not module.cuda.is_available():
            words[name] += ", which finds no GPU"
        elif name == "faiss" and not hasattr(module, "StandardGpuResources"):
            words[name] += ", without its GPU part"
            continue
        modules[name] = module
    return modules, words


def _version(packages: Iterable[str]) -> str | None:
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


class TorchEvents:
    """CUDA events of torch's current stream."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._first, self._last = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def start(self) -> None:
        """Records the first event."""
        self._first.record()

    def stop(self) -> float:
        """Waits for the device; returns the seconds since `start`."""
        self._last.record()
        self._torch.cuda.synchronize()
        return float(self._first.elapsed_time(self._last)) / 1e3


class CupyEvents:
    """CUDA events of cupy's current stream."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._first, self._last = cupy.cuda.Event(), cupy.cuda.Event()

    def start(self) -> None:
        """Records the first event."""
        self._first.record()

    def stop(self) -> float:
        """Waits for the device; returns the seconds since `start`."""
        self._last.record()
        self._last.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(self._first, self._last)) / 1e3


def torch_device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_events(torch: Any) -> TorchEvents | None:
    return TorchEvents(torch) if torch.cuda.is_available() else None


def torch_product(
    torch: Any, batches: Iterable[Array], rows: int, dim: int, dtype: str, mask: Array | None = None
) -> Maker:
    """Matmul and topk: bits as 1 and -1 in half floats, whose products are exact."""
    device, kind = torch_device(torch), getattr(torch, dtype)
    x = torch.empty((rows, dim), dtype=kind, device=device)
    first = 0
    for batch in batches:
        x[first : first + len(batch)] = torch.from_numpy(batch).to(device)
        first += len(batch)
    left_out = None if mask is None else torch.from_numpy(~mask).to(device)
    at_once = max(1, MOST_SCORE_BYTES // (4 * rows))

    def make(inputs: Sequence[Array], k: int) -> Contender:
        def call(i: int) -> Answer:
            found = []
            for queries in torch.from_numpy(inputs[i]).to(device).to(kind).split(at_once):
                scores = queries @ x.T
                if left_out is not None:
                    scores = scores.masked_fill(left_out, -torch.inf)
                found.append(scores.topk(k))
            values, ids = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
            return values, ids

        return Contender(f"torch matmul, topk, {dtype}", call, torch_events(torch))

    return make


def cupy_product(cupy: Any, batches: Iterable[Array], rows: int, dim: int) -> Maker:
    """Matmul and argpartition, which cupy does by a sort."""
    x = cupy.empty((rows, dim), cupy.float32)
    first = 0
    for batch in batches:
        x[first : first + len(batch)] = cupy.asarray(batch)
        first += len(batch)

    at_once = max(1, MOST_SCORE_BYTES // (16 * rows))

    def make(inputs: Sequence[Array], k: int) -> Contender:
        def call(i: int) -> Answer:
            values, ids = [], []
            for begin in range(0, len(inputs[i]), at_once):
                scores = cupy.asarray(inputs[i][begin : begin + at_once]) @ x.T
                best = cupy.argpartition(-scores, k, axis=1)[:, :k]
                of_best = cupy.take_along_axis(scores, best, axis=1)
                order = cupy.argsort(-of_best, axis=1)
                values.append(cupy.take_along_axis(of_best, order, axis=1).get())
                ids.append(cupy.take_along_axis(best, order, axis=1).get())
            return np.concatenate(values), np.concatenate(ids)

        return Contender("cupy matmul, argpartition, float32", call, CupyEvents(cupy))

    return make


def faiss_floats(faiss: Any, batches: Iterable[Array], dim: int, halves: bool) -> Maker:
    """GpuIndexFlatIP."""
    resources, config = faiss.StandardGpuResources(), faiss.GpuIndexFlatConfig()
    config.useFloat16 = halves
    index = faiss.GpuIndexFlatIP(resources, dim, config)
    for batch in batches:
        index.add(batch)
    name = f"faiss GpuIndexFlatIP{', float16' if halves else ''}"
    # The index does not keep its resources alive.
    return lambda inputs, k: Contender(name, lambda i, keep=resources: index.search(inputs[i], k))


def faiss_bits(faiss: Any, batches: Iterable[Array], dim: int) -> Maker:
    """GpuIndexBinaryFlat."""
    resources = faiss.StandardGpuResources()
    index = faiss.GpuIndexBinaryFlat(resources, dim)
    for batch in batches:
        index.add(np.packbits(batch > 0, axis=1))

    def make(inputs: Sequence[Array], k: int) -> Contender:
        packed = [np.packbits(queries > 0, axis=1) for queries in inputs]
        return Contender("faiss GpuIndexBinaryFlat", lambda i, keep=resources: index.search(packed[i], k))

    return make


def cuvs_floats(cuvs: Any, cupy: Any, batches: Iterable[Array], rows: int, dim: int, dtype: str) -> Maker:
    """brute_force."""
    x = cupy.empty((rows, dim), dtype)
    first = 0
    for batch in batches:
        x[first : first + len(batch)] = cupy.asarray(batch)
        first += len(batch)
    index = cuvs.build(x, metric="inner_product")

    def make(inputs: Sequence[Array], k: int) -> Contender:
        def call(i: int) -> Answer:
            values, ids = cuvs.search(index, cupy.asarray(inputs[i].astype(dtype)), k)
            return cupy.asarray(values).get(), cupy.asarray(ids).get()

        return Contender(f"cuVS brute_force, {dtype}", call, CupyEvents(cupy))

    return make


def torch_pooling(torch: Any, hidden: list[Array], mask: Array, packed: bool) -> Contender:
    """Pooling on the device as in user code: masked mean, unit length, and a copy of the rows to main memory."""
    device = torch_device(torch)
    states = [torch.from_numpy(one).to(device) for one in hidden]
    kept = torch.from_numpy(mask).to(device)[:, :, None]

    def call(i: int) -> Any:
        sums = (states[i].float() * kept).sum(dim=1)
        rows = torch.nn.functional.normalize(sums / kept.sum(dim=1)).cpu().numpy()
        return np.packbits(rows > 0, axis=1) if packed else rows

    return Contender("torch mean, normalize, copy", call, torch_events(torch))


def torch_copy(torch: Any, hidden: list[Array], mask: Array, pool: Callable[[Array, Array], Array]) -> Contender:
    """The usual way of services: the hidden states are copied to main memory, and the CPU makes rows of them."""
    device = torch_device(torch)
    states = [torch.from_numpy(one).to(device) for one in hidden]
    return Contender(
        "copy of the hidden states, nestvec on the CPU",
        lambda i: pool(states[i].cpu().numpy(), mask),
        torch_events(torch),
    )
