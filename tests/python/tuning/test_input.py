"""The input of tune: vectors, texts with a model, folders in the layout of BEIR, and files that do not match."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_bert

import nestvec
from nestvec.errors import ArgumentError
from nestvec.tuning.input import TextEncoder, read_tune_input

TEXTS = ["the weather is lovely today", "a cat sat on the mat", "he drove to the stadium", "open the file and read"]
QUESTIONS = ["weather today", "cat", "which file"]
NO_MODEL = TextEncoder(None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "search query ", "document": "document "}
    directory = write_bert(tmp_path_factory.mktemp("models") / "tiny", prompts=prompts)
    nestvec.export_onnx(directory)
    return directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "set"
    (directory / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{row}", "text": text}) for row, text in enumerate(TEXTS)]
    (directory / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": f"q{row}", "text": text}) for row, text in enumerate(QUESTIONS)]
    (directory / "queries.jsonl").write_text("\n".join(lines))
    (directory / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq2\td3\t2\nq2\td9\t1\n")
    return directory


def vectors(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)


def test_vectors_and_queries(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", vectors(10))
    np.save(tmp_path / "q.npy", vectors(3, 1))
    found = read_tune_input(tmp_path / "x.npy", tmp_path / "q.npy", NO_MODEL)
    np.testing.assert_array_equal(found.x, vectors(10))
    np.testing.assert_array_equal(found.queries, vectors(3, 1))
    assert (found.title, found.relevance, found.notes) == ("x.npy", None, ())
    assert read_tune_input(tmp_path / "x.npy", None, NO_MODEL).queries is None


def test_limit_keeps_evenly_spaced_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", vectors(10))
    found = read_tune_input(tmp_path / "x.npy", tmp_path / "x.npy", NO_MODEL, limit=4)
    np.testing.assert_array_equal(found.x, vectors(10)[[0, 2, 5, 7]])
    assert len(found.queries) == 10
    assert found.notes == ("Measured on 4 of 10 rows, evenly spaced. Recall falls as a collection grows.",)
    assert read_tune_input(tmp_path / "x.npy", None, NO_MODEL, limit=10).notes == ()


def test_texts_and_the_cache(tmp_path: Path, model: Path) -> None:
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    (tmp_path / "asked.txt").write_text("\n".join(QUESTIONS))
    cache = tmp_path / "made" / "cache"
    docs = read_tune_input(tmp_path / "docs.jsonl", None, TextEncoder(str(model), cache), field="body")
    encoder = nestvec.Encoder(model)
    np.testing.assert_array_equal(docs.x, encoder.encode(TEXTS, prompt="document"))
    asked = read_tune_input(tmp_path / "asked.txt", tmp_path / "asked.txt", TextEncoder(str(model), cache))
    np.testing.assert_array_equal(asked.queries, encoder.encode(QUESTIONS, prompt="query"))
    stored = sorted(cache.glob("*.npy"))
    assert len(stored) == 3
    for path in stored:
        np.save(path, np.zeros_like(np.load(path)))
    again = read_tune_input(tmp_path / "docs.jsonl", None, TextEncoder(str(model), cache), field="body")
    assert not again.x.any()  # the cache is used
    np.save(stored[0], vectors(9))
    np.save(stored[1], vectors(9))
    np.save(stored[2], vectors(9))
    with pytest.raises(ArgumentError, match=r"holds an array of shape \(9, 8\); expected 4 rows, one per text"):
        read_tune_input(tmp_path / "docs.jsonl", None, TextEncoder(str(model), cache), field="body")


def test_texts_without_a_model(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "docs.txt").write_text("a text")
    with pytest.raises(ArgumentError, match=r"docs.txt holds texts; give their model with --model"):
        read_tune_input(tmp_path / "docs.txt", None, NO_MODEL)
    with pytest.raises(ArgumentError, match="set holds texts; give their model"):
        read_tune_input(folder, None, NO_MODEL)
    (tmp_path / "docs.txt").write_text("\n")
    with pytest.raises(ArgumentError, match=r"docs.txt holds no texts"):
        read_tune_input(tmp_path / "docs.txt", None, NO_MODEL)


def test_a_folder_with_a_model(folder: Path, model: Path) -> None:
    found = read_tune_input(folder, None, TextEncoder(str(model)))
    encoder = nestvec.Encoder(model)
    np.testing.assert_array_equal(found.x, encoder.encode(TEXTS, prompt="document"))
    np.testing.assert_array_equal(found.queries, encoder.encode([QUESTIONS[0], QUESTIONS[2]], prompt="query"))
    assert found.relevance == [{0: 1}, {3: 2}]
    assert found.title == "set"
    assert any("1 of 3 queries have no judgement" in note for note in found.notes)
    assert any("judgements name documents that the corpus does not have" in note for note in found.notes)


@pytest.mark.parametrize("rows", [2, 3])
def test_a_folder_with_vectors(folder: Path, rows: int) -> None:
    np.save(folder / "corpus.npy", vectors(4))
    np.save(folder / "queries.npy", vectors(rows, 1))
    found = read_tune_input(folder, None, NO_MODEL)
    np.testing.assert_array_equal(found.x, vectors(4))
    # vectors of all three lines, or of the two with judgements
    np.testing.assert_array_equal(found.queries, vectors(rows, 1)[[0, 2] if rows == 3 else [0, 1]])


def test_a_folder_whose_queries_are_documents(folder: Path) -> None:
    np.save(folder / "corpus.npy", vectors(4))
    np.save(folder / "queries.npy", vectors(3, 1))
    lines = [{"_id": "d2", "text": "cat"}, {"_id": "q1", "text": "which file"}, {"_id": "d1", "text": "weather"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "qrels" / "test.tsv").write_text("d2\td0\t1\nq1\td1\t1\nd1\td2\t1\n")
    found = read_tune_input(folder, None, NO_MODEL)
    assert found.own_rows == [2, -1, 1]
    note = "{} of 3 queries have the same id as a document, which is left out of their rankings, as BEIR does."
    assert note.format(2) in found.notes
    limited = read_tune_input(folder, None, NO_MODEL, limit=2)
    assert limited.own_rows == [1, -1, -1]  # rows 0 and 2 are kept
    assert note.format(1) in limited.notes


def test_a_folder_with_a_limit(folder: Path) -> None:
    np.save(folder / "corpus.npy", vectors(4))
    np.save(folder / "queries.npy", vectors(3, 1))
    found = read_tune_input(folder, None, NO_MODEL, limit=2)  # rows 0 and 2
    np.testing.assert_array_equal(found.x, vectors(4)[[0, 2]])
    assert found.relevance == [{0: 1}, {}]
    (folder / "qrels" / "test.tsv").write_text("q2\td3\t2\n")
    found = read_tune_input(folder, None, NO_MODEL, limit=2)
    assert found.relevance is None
    assert found.notes[-1] == "None of the kept rows has a judgement: nDCG was not measured."


def test_files_that_do_not_match(tmp_path: Path, folder: Path) -> None:
    np.save(folder / "corpus.npy", vectors(5))
    with pytest.raises(ArgumentError, match=r"corpus.npy holds an array of shape \(5, 8\); expected 4 rows"):
        read_tune_input(folder, None, NO_MODEL)
    np.save(folder / "corpus.npy", vectors(4))
    np.save(folder / "queries.npy", vectors(7))
    with pytest.raises(ArgumentError, match=r"queries.npy holds an array of shape \(7, 8\); expected 3 rows"):
        read_tune_input(folder, None, NO_MODEL)
    with pytest.raises(ArgumentError, match="is a folder with its own queries"):
        read_tune_input(folder, folder / "queries.npy", NO_MODEL)
    np.save(tmp_path / "x.npy", vectors(4)[0])
    with pytest.raises(ArgumentError, match=r"x.npy holds an array of shape \(8,\); expected \(rows, dim\)"):
        read_tune_input(tmp_path / "x.npy", None, NO_MODEL)
