"""Spools: the same bytes whatever they are kept in, grown without a copy, and given back."""

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
def test_what_is_appended_comes_back(make: Callable[[Path], Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for sizes in ([], [0], [1], [5, 0, 7], [4096], [3 << 20], [1, 3 << 20, 1], [700_000] * 20):
        parts = [rng.integers(0, 256, size, np.uint8) for size in sizes]
        one = make(tmp_path)
        for part in parts:
            one.append(part)
        whole = one.map()
        del one
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
    one = make(tmp_path)
    for array in arrays:
        one.append(array)
    assert one.map().tobytes() == b"".join(array.tobytes() for array in arrays)


@linux
class TestMemory:
    def test_what_was_reserved_beyond_the_bytes_is_given_back(self) -> None:
        one = spool.MemorySpool()
        for _ in range(40):
            one.append(np.ones(1_000_000, np.uint8))
        assert len(one._memory or b"") > 40_000_000
        whole = one.map()
        assert len(one._memory or b"") == whole.nbytes == 40_000_000

    def test_growing_does_not_copy(self) -> None:
        def resident() -> int:
            return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

        part = np.ones(8 << 20, np.uint8)
        one = spool.MemorySpool()
        before = resident()
        for at in range(1, 17):
            one.append(part)
            assert resident() - before < at * part.nbytes + 2 * spool.HUGE_PAGE + (4 << 20)

    def test_when_the_system_has_not_the_room_to_be_generous(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        class Small(mmap.mmap):
            def resize(self, newsize: int) -> None:
                asked.append(newsize)
                if newsize > 6 * spool.HUGE_PAGE:
                    raise OSError(errno.ENOMEM, "Cannot allocate memory")
                super().resize(newsize)

        monkeypatch.setattr("nestvec.base.files.mmap.mmap", Small)
        one = spool.MemorySpool()
        part = np.arange(spool.HUGE_PAGE // 4, dtype=np.uint32)
        for _ in range(6):
            one.append(part)
        assert max(asked) > 6 * spool.HUGE_PAGE
        with pytest.raises(MemoryError, match=r"needs 14680064 bytes for one of its sections.*build it with path="):
            one.append(part)
        np.testing.assert_array_equal(one.map().view(np.uint32), np.tile(part, 6))

    def test_a_kernel_without_huge_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Plain(mmap.mmap):
            def madvise(self, *args: Any) -> None:
                raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr("nestvec.base.files.mmap.mmap", Plain)
        one = spool.MemorySpool()
        one.append(np.ones(5 << 20, np.uint8))
        assert one.map().sum() == 5 << 20

    def test_large_ones_ask_for_huge_pages_and_small_ones_do_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        advice = []

        class Noting(mmap.mmap):
            def madvise(self, option: int, *args: Any) -> None:
                advice.append(option)

        monkeypatch.setattr("nestvec.base.files.mmap.mmap", Noting)
        one = spool.MemorySpool()
        one.append(np.ones(1000, np.uint8))
        assert advice == []
        one.append(np.ones(spool.HUGE_PAGE, np.uint8))
        assert advice == [mmap.MADV_HUGEPAGE]

    def test_a_table_in_memory_is_in_it_and_outlives_the_build(self) -> None:
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
