"""Spools: equal bytes in a file and in memory, growth without a copy, and release."""

from __future__ import annotations

import errno
import gc
import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec import Table
from nestvec.table import spool
from nestvec.table.spool import FileSpool, make_spool

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere spools in memory are unnamed files")
KINDS: dict[str, Callable[[Path], Any]] = {
    "memory": lambda folder: make_spool(None),
    "file of a folder": make_spool,
    "file of the system": lambda folder: FileSpool(None),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_appended_bytes_come_back(make: Callable[[Path], Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for sizes in ([], [0], [1], [5, 0, 7], [4096], [3 << 20], [1, 3 << 20, 1], [700_000] * 20):
        parts = [rng.integers(0, 256, size, np.uint8) for size in sizes]
        buffer = make(tmp_path)
        for part in parts:
            buffer.append(part)
        whole = buffer.map()
        del buffer
        gc.collect()
        assert whole.dtype == np.uint8
        assert whole.tobytes() == b"".join(part.tobytes() for part in parts)
        assert not whole.size or not whole.flags.writeable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_arrays_of_any_shape_and_type_are_their_bytes(make: Callable[[Path], Any], tmp_path: Path) -> None:
    arrays = [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(5),
        np.arange(8, dtype=np.uint16).reshape(2, 2, 2),
    ]
    buffer = make(tmp_path)
    for array in arrays:
        buffer.append(array)
    assert buffer.map().tobytes() == b"".join(array.tobytes() for array in arrays)


@linux
class TestMemory:
    def test_unused_reserved_memory_is_given_back(self) -> None:
        buffer = spool.MemorySpool()
        for _ in range(40):
            buffer.append(np.ones(1_000_000, np.uint8))
        assert len(buffer._memory or b"") > 40_000_000
        whole = buffer.map()
        assert len(buffer._memory or b"") == whole.nbytes == 40_000_000

    def test_growing_does_not_copy(self) -> None:
        def resident() -> int:
            return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

        part = np.ones(8 << 20, np.uint8)
        buffer = spool.MemorySpool()
        before = resident()
        for at in range(1, 17):
            buffer.append(part)
            assert resident() - before < at * part.nbytes + 2 * spool.HUGE_PAGE + (4 << 20)

    def test_growth_without_room_for_a_reserve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        class Small(mmap.mmap):
            def resize(self, newsize: int) -> None:
                asked.append(newsize)
                if newsize > 6 * spool.HUGE_PAGE:
                    raise OSError(errno.ENOMEM, "Cannot allocate memory")
                super().resize(newsize)

        monkeypatch.setattr("nestvec.table.spool.mmap.mmap", Small)
        buffer = spool.MemorySpool()
        part = np.arange(spool.HUGE_PAGE // 4, dtype=np.uint32)
        for _ in range(6):
            buffer.append(part)
        assert max(asked) > 6 * spool.HUGE_PAGE
        with pytest.raises(MemoryError, match=r"needs 14680064 bytes for one of its sections.*build it with path="):
            buffer.append(part)
        np.testing.assert_array_equal(buffer.map().view(np.uint32), np.tile(part, 6))

    def test_a_kernel_without_huge_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Plain(mmap.mmap):
            def madvise(self, *args: Any) -> None:
                raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr("nestvec.table.spool.mmap.mmap", Plain)
        buffer = spool.MemorySpool()
        buffer.append(np.ones(5 << 20, np.uint8))
        assert buffer.map().sum() == 5 << 20

    def test_only_large_spools_ask_for_huge_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        advice = []

        class Noting(mmap.mmap):
            def madvise(self, option: int, *args: Any) -> None:
                advice.append(option)

        monkeypatch.setattr("nestvec.table.spool.mmap.mmap", Noting)
        buffer = spool.MemorySpool()
        buffer.append(np.ones(1000, np.uint8))
        assert advice == []
        buffer.append(np.ones(spool.HUGE_PAGE, np.uint8))
        assert advice == [mmap.MADV_HUGEPAGE]

    def test_small_spools_take_no_maps(self) -> None:
        def maps() -> int:
            return Path("/proc/self/maps").read_text().count("\n")

        x = np.random.default_rng(0).standard_normal((10, 32)).astype(np.float32)
        before = maps()
        kept = [
            Table.build(x, codec="binary", rescore="int8", ids=range(10), texts=["a"] * 10, metric="ip")
            for _ in range(300)
        ]
        assert maps() < before + len(kept) / 3
        assert all(table.search(x[:1], 1).texts == [["a"]] for table in kept)

    @pytest.mark.parametrize("beyond", [-1, 0, 1])
    def test_from_the_heap_to_a_map(self, beyond: int) -> None:
        parts = [np.arange(spool.HUGE_PAGE // 8, dtype=np.uint32), np.arange(spool.HUGE_PAGE // 2 + beyond) % 251]
        buffer = spool.MemorySpool()
        for part in (parts[0], parts[1].astype(np.uint8)):
            buffer.append(part)
        assert (buffer._memory is not None) == (beyond > 0)
        whole = buffer.map()
        assert whole.ctypes.data % 64 == 0
        assert whole.tobytes() == parts[0].tobytes() + parts[1].astype(np.uint8).tobytes()

    def test_a_table_in_memory_is_in_a_spool_and_outlives_the_build(self) -> None:
        x = np.random.default_rng(1).standard_normal((9000, 128)).astype(np.float32)
        table = Table.build(x, codec="float32", metric="ip")
        sections = table._state.segment.sections
        assert sections is not None
        codes: Any = sections["tier0.codes"].data
        while isinstance(codes, np.ndarray):
            codes = codes.base
        assert isinstance(getattr(codes, "obj", codes), mmap.mmap)
        gc.collect()
        assert table.search(x[:5], 1).ids[:, 0].tolist() == [0, 1, 2, 3, 4]
