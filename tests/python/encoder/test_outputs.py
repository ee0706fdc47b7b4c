"""Codes written by the epilogue: tables built from them equal tables built from float vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import WORDS, write_bert

from nestvec import Encoder, Table
from nestvec.encoder.outputs import VectorOutput
from nestvec.errors import ArgumentError
from nestvec.export.export import export_onnx

TEXTS = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(i % 19)) for i in range(150)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = write_bert(tmp_path_factory.mktemp("models") / "bert")
    export_onnx(folder, check=False)
    return Encoder(folder, threads=2)


@pytest.fixture
def no_vectors(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Makes every float row of a batch an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("a float array was made of a batch")

    monkeypatch.setattr(VectorOutput, "put", refuse)
    yield monkeypatch
    monkeypatch.undo()


def build(source: Any, path: Path, encoder: Encoder, **options: Any) -> bytes:
    ids, texts = np.arange(len(TEXTS)) * 3, TEXTS
    Table.build(source, ids=ids, texts=texts, encoder=encoder, path=path, **options).close()
    return path.read_bytes()


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize(
    "codec",
    ["binary", "int8", "float16", "bfloat16", "float32", ("binary", "int8"), ("binary", "int8", "float32")],
)
@pytest.mark.parametrize("window", [150, 100, 7])
def test_the_file_is_that_of_float_vectors(
    encoder: Encoder, tmp_path: Path, no_vectors: pytest.MonkeyPatch, codec: Any, metric: str, window: int
) -> None:
    options = {"codec": codec, "metric": metric, "dims": () if metric == "ip" and codec == "float32" else (8, 16)}
    coded = build(encoder.encode_batches(TEXTS, window=window), tmp_path / "coded", encoder, **options)
    no_vectors.undo()
    vectors = build(list(encoder.encode_batches(TEXTS, window=window)), tmp_path / "vectors", encoder, **options)
    assert coded == vectors


def test_a_shorter_dim(encoder: Encoder, tmp_path: Path, no_vectors: pytest.MonkeyPatch) -> None:
    coded = build(encoder.encode_batches(TEXTS, dim=8), tmp_path / "coded", encoder, codec="int8")
    no_vectors.undo()
    vectors = build(list(encoder.encode_batches(TEXTS, dim=8)), tmp_path / "vectors", encoder, codec="int8")
    assert coded == vectors


@pytest.mark.parametrize("options", [{"codec": "rabitq"}, {"codec": ("binary", "pq4x8")}, {"codec": "int4"}])
def test_codecs_that_learn_from_a_sample_use_vectors(encoder: Encoder, tmp_path: Path, options: dict[str, Any]) -> None:
    table = Table.build(encoder.encode_batches(TEXTS), **options)
    assert table.rows == len(TEXTS)


def test_an_iterator_in_use_gives_no_codes(encoder: Encoder) -> None:
    source = encoder.encode_batches(TEXTS, window=50)
    first = next(source)
    assert not source.gives_codes
    assert Table.build(source, codec="int8").rows == len(TEXTS) - len(first)
    with pytest.raises(ArgumentError, match="cannot be read as codes"):
        source.codes([])


def test_codes_are_read_once(encoder: Encoder) -> None:
    source = encoder.encode_batches(TEXTS)
    Table.build(source, codec="binary")
    with pytest.raises(ArgumentError, match="were already read as codes; call encode_batches again"):
        next(source)


def test_other_precisions_give_no_codes(encoder: Encoder) -> None:
    assert not encoder.encode_batches(TEXTS, precision="int8").gives_codes


def test_no_texts(encoder: Encoder) -> None:
    with pytest.raises(ArgumentError, match="x holds no batch"):
        Table.build(encoder.encode_batches([]), codec="int8")
