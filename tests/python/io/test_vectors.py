"""Vectors from .npy, .safetensors and Parquet files, sound and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from nestvec.errors import ArgumentError
from nestvec.io.vectors import read_vectors

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def refused(path: Path, message: str, field: str | None = None) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_vectors(path, field)


def test_npy(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", X)
    np.testing.assert_array_equal(read_vectors(path), X)
    path.write_bytes(path.read_bytes()[:-8])
    refused(path, r"x.npy is not a .npy file of vectors")
    path.write_bytes(b"")
    refused(path, r"x.npy is not a .npy file of vectors")
    np.save(path, np.array([{}]), allow_pickle=True)
    refused(path, r"x.npy is not a .npy file of vectors")
    np.savez(tmp_path / "y.npz", X)
    (tmp_path / "y.npz").rename(path)
    refused(path, r"is an .npz archive")


def test_files_of_other_formats(tmp_path: Path) -> None:
    refused(tmp_path / "x.npy", r"there is no file .*x.npy; expected one with vectors: .npy, .safetensors, .parquet")
    refused(tmp_path, "there is no file")
    (tmp_path / "x.csv").write_text("1,2")
    refused(tmp_path / "x.csv", r"x.csv is none of .npy, .safetensors, .parquet")


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": X, "norms": X[:, 0].copy(), "ids": np.arange(4).reshape(2, 2)}, path)
    np.testing.assert_array_equal(read_vectors(path), X)
    np.testing.assert_array_equal(read_vectors(path, "x"), X)
    refused(
        path, r"no tensor 'ids' with F32, F16, F64 of two dimensions; it has 'ids' \(I64 \[2, 2\]\), 'norms'", "ids"
    )
    save_file({"x": X, "y": X.astype(np.float16)}, path)
    refused(path, r"has 2 tensors with .*'x' \(F32 \[4, 3\]\), 'y' \(F16 \[4, 3\]\)\); name one with --field")
    assert read_vectors(path, "y").dtype == np.float16
    path.write_bytes(path.read_bytes()[:-5])
    refused(path, r"x.safetensors is truncated or no safetensors file")
    path.write_bytes(b"")
    refused(path, r"x.safetensors is truncated or no safetensors file")


def write_parquet(path: Path, **columns: Any) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(columns), path, row_group_size=2)


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    path = tmp_path / "x.parquet"
    kinds = [arrow.list_(arrow.float32()), arrow.large_list(arrow.float64()), arrow.list_(arrow.float16(), 3)]
    for kind in kinds:
        write_parquet(path, id=[1, 2, 3, 4], x=arrow.array(list(X.astype(kind.value_type.to_pandas_dtype())), kind))
        found = read_vectors(path)
        assert found.dtype == kind.value_type.to_pandas_dtype()
        np.testing.assert_array_equal(found, X)
    refused(path, r"no column 'id' with lists of floats; it has 'id' \(int64\), 'x' \(fixed", "id")
    write_parquet(path, x=X.tolist(), y=X.tolist())
    refused(path, r"has 2 columns with lists of floats .*; name one with --field")
    np.testing.assert_array_equal(read_vectors(path, "y"), X)
    write_parquet(path, x=arrow.array([], kinds[0]))
    assert read_vectors(path).shape == (0, 0)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_parquet(path, x=[[1.0, 2.0], [3.0]])
    refused(path, r"x.parquet: the column 'x' has 2 values in row 0 and 1 in row 1; expected rows of one length")
    for rows, nulls in (([[1.0, 2.0], None], 1), ([None, None, [1.0]], 2)):
        write_parquet(path, x=rows)
        refused(path, f"x.parquet: the column 'x' holds {nulls} nulls; expected a value in every row")
    write_parquet(path, x=[[1.0, None], [1.0, 2.0]])
    refused(path, "a list of .*x.parquet: the column 'x' holds 1 nulls")
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole[20:], b"", b"PAR1"):
        path.write_bytes(damaged)
        refused(path, "is truncated or no Parquet file")
