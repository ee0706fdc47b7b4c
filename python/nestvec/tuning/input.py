"""The input of `nestvec tune`, from files: vectors, or texts and the model that encodes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nestvec.base.files import replacing
from nestvec.base.types import Array
from nestvec.errors import ArgumentError
from nestvec.io.beir import read_beir, read_jsonl
from nestvec.io.texts import DOCUMENT_PROMPTS, TextInput
from nestvec.io.vectors import VECTOR_SUFFIXES, load_npy, read_vectors

if TYPE_CHECKING:
    from nestvec.encoder.encoder import Encoder


@dataclass(frozen=True)
class TuneInput:
    """The arguments of `tune` that come from files: vectors, and queries, judgements and own rows, if any."""

    title: str
    x: Array
    queries: Array | None
    relevance: list[dict[int, int]] | None
    notes: tuple[str, ...]
    own_rows: list[int] | None = None


@dataclass
class TextEncoder:
    """Encodes texts with a model. `cache`: a folder that keeps the vectors; file names hash model, prompt and texts."""

    model: str | None
    cache: Path | None = None
    device: str = "cpu"
    threads: int | None = None
    _encoder: Encoder | None = None

    def encode(self, texts: Sequence[str], prompts: Sequence[str], source: str) -> Array:
        """Returns (texts, dim) float32, with the first of `prompts` that the model has.

        Raises `ArgumentError` without a model; `ModelError`; OSError for a cache that cannot be written.
        """
        if self.model is None:
            raise ArgumentError(f"{source} holds texts; give their model with --model")
        if self._encoder is None:
            from nestvec.encoder.encoder import Encoder

            self._encoder = Encoder(self.model, device=self.device, threads=self.threads)
        prompt = next((name for name in prompts if name in self._encoder.prompts), None)
        path = None if self.cache is None else self.cache / f"{self._key(texts, prompt)}.npy"
        if path is not None and path.exists():
            return _checked_rows(load_npy(path), len(texts), path)
        vectors = self._encoder.encode(texts, prompt=prompt, progress=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                np.save(file, vectors)
        return vectors

    def _key(self, texts: Sequence[str], prompt: str | None) -> str:
        assert self._encoder is not None
        parts = json.dumps([self._encoder.fingerprint, prompt, list(texts)], sort_keys=True)
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


def read_tune_input(
    path: Path, queries: Path | None, encoder: TextEncoder, field: str | None = None, limit: int | None = None
) -> TuneInput:
    """Reads a file of vectors or texts, or a folder in the layout of BEIR.

    path: .npy, .safetensors or .parquet with vectors; a folder with corpus.jsonl and queries.jsonl, optionally
        qrels/test.tsv, and optionally the vectors of the lines in corpus.npy and queries.npy; or a file of texts: JSON
        lines with "text", or plain lines.
    queries: a file of vectors or texts; None for a folder. encoder: for texts.
    field: the tensor, column or JSON field, of both files.
    limit: the most rows to keep, evenly spaced.

    Raises `ArgumentError` for files that cannot be read or do not fit together; `ModelError`; OSError.
    """
    if path.is_dir():
        if queries is not None:
            raise ArgumentError(f"{path} is a folder with its own queries; give --queries only with a file of vectors")
        return _read_folder(path, encoder, limit)
    x, notes = _read_file(path, field, encoder, DOCUMENT_PROMPTS, limit)
    query_rows = None if queries is None else _read_file(queries, field, encoder, ("query",), None)[0]
    return TuneInput(path.name, x, query_rows, None, tuple(notes))


def _read_file(
    path: Path, field: str | None, encoder: TextEncoder, prompts: Sequence[str], limit: int | None
) -> tuple[Array, list[str]]:
    if path.suffix.lower() in VECTOR_SUFFIXES:
        vectors = read_vectors(path, field)
        if vectors.ndim != 2:
            raise ArgumentError(f"{path} holds an array of shape {vectors.shape}; expected (rows, dim)")
        kept = _spread(len(vectors), limit)
        return _rows(vectors, kept), _limit_note(len(vectors), len(kept))
    texts = [record.text for record in TextInput(str(path), text_field=field or "text", id_field="")]
    if not texts:
        raise ArgumentError(f"{path} holds no texts; expected at least 1")
    kept = _spread(len(texts), limit)
    return encoder.encode([texts[row] for row in kept], prompts, str(path)), _limit_note(len(texts), len(kept))


def _read_folder(folder: Path, encoder: TextEncoder, limit: int | None) -> TuneInput:
    data = read_beir(folder)
    notes = list(data.notes)
    kept = _spread(len(data.documents), limit)
    notes += _limit_note(len(data.documents), len(kept))
    documents = list(data.documents.values())
    if (folder / "corpus.npy").exists():
        stored = load_npy(folder / "corpus.npy")
        x = _rows(_checked_rows(stored, len(documents), folder / "corpus.npy"), kept)
    else:
        x = encoder.encode([documents[row] for row in kept], DOCUMENT_PROMPTS, str(folder))
    if (folder / "queries.npy").exists():
        stored = load_npy(folder / "queries.npy")
        if len(stored) != len(data.queries):  # a vector for every line, with or without judgements
            lines = {query: line for line, query in enumerate(read_jsonl(folder / "queries.jsonl"))}
            every_row = _checked_rows(stored, len(lines), folder / "queries.npy")
            query_rows = every_row[[lines[query] for query in data.queries]]
        else:
            query_rows = _checked_rows(stored, len(data.queries), folder / "queries.npy")
    else:
        query_rows = encoder.encode(list(data.queries.values()), ("query",), str(folder))
    relevance, own_rows = data.judgements, data.own_rows
    new_rows = {row: new_row for new_row, row in enumerate(kept.tolist())}
    own_rows = [new_rows.get(row, -1) for row in own_rows]
    if own := sum(row >= 0 for row in own_rows):
        notes.append(
            f"{own:,} of {len(own_rows):,} queries have the same id as a document, which is left out of their "
            "rankings, as BEIR does."
        )
    if relevance is not None and len(kept) < len(documents):
        relevance = [{new_rows[row]: gain for row, gain in judged.items() if row in new_rows} for judged in relevance]
        if not any(relevance):
            relevance = None
            notes.append("None of the kept rows has a judgement: nDCG was not measured.")
    return TuneInput(folder.resolve().name, x, query_rows, relevance, tuple(notes), own_rows)


def _spread(rows: int, limit: int | None) -> npt.NDArray[np.int64]:
    """Returns the numbers of the rows to keep: all, or `limit` of them, evenly spaced."""
    count = rows if limit is None else min(rows, limit)
    return np.arange(count) * rows // max(count, 1)


def _rows(vectors: Array, kept: npt.NDArray[np.int64]) -> Array:
    return vectors if len(kept) == len(vectors) else vectors[kept]


def _limit_note(rows: int, kept: int) -> list[str]:
    if kept == rows:
        return []
    return [f"Measured on {kept:,} of {rows:,} rows, evenly spaced. Recall falls as a collection grows."]


def _checked_rows(vectors: Array, rows: int, path: Path) -> Array:
    if vectors.ndim != 2 or len(vectors) != rows:
        raise ArgumentError(f"{path} holds an array of shape {vectors.shape}; expected {rows} rows, one per text")
    return vectors
