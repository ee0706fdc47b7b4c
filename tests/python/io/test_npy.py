"""Writing .npy files batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.io.npy import write_npy


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_batches_come_back_as_one_array(tmp_path: Path, dtype: str) -> None:
    x = np.arange(21_000).reshape(7000, 3).astype(dtype)
    path = tmp_path / "x.npy"
    assert write_npy(path, (x[i : i + 999] for i in range(0, 7000, 999))) == (7000, np.dtype(dtype))
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, x)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npy"]


def test_no_rows(tmp_path: Path) -> None:
    write_npy(tmp_path / "x.npy", [np.zeros((0, 5), np.float32)])
    assert np.load(tmp_path / "x.npy").shape == (0, 5)


def test_an_error_on_the_way_keeps_the_old_file(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray[Any, Any]]:
        yield np.zeros((2, 5), np.float32)
        raise RuntimeError("half way")

    path = tmp_path / "x.npy"
    write_npy(path, [np.ones((1, 5), np.float32)])
    with pytest.raises(RuntimeError, match="half way"):
        write_npy(path, failing())
    assert np.load(path).tolist() == [[1.0] * 5]
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npy"]
