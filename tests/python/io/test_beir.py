"""Reading data sets in BEIR's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nestvec.errors import ArgumentError
from nestvec.io.beir import read_beir, read_jsonl, read_qrels

CORPUS = """{"_id": "a", "title": "A", "text": "one"}

{"_id": 7, "text": "two"}
{"_id": "c", "title": null, "text": ""}
"""
QUERIES = '{"_id": "q1", "text": "first"}\n{"_id": "q2", "text": "second"}\n{"_id": "q3", "text": "third"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq3\ta\t1\nq1\t7\t2\nq1\tc\t0\nq1\tz\t1\nq9\ta\t1\nq9\ta\t0\n"


def data_set(folder: Path, corpus: str = CORPUS, queries: str = QUERIES, qrels: str | None = QRELS) -> Path:
    (folder / "corpus.jsonl").write_text(corpus, encoding="utf-8")
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    if qrels is not None:
        (folder / "qrels").mkdir()
        (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_texts(tmp_path: Path) -> None:
    data_set(tmp_path)
    assert read_jsonl(tmp_path / "corpus.jsonl") == {"a": "A one", "7": "two", "c": ""}
    assert list(read_jsonl(str(tmp_path / "queries.jsonl")).values()) == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"corpus.jsonl, line 2: not JSON \([^;]*\)$"),
        ("[1]", "line 2: a JSON array; expected one object a line"),
        ("7", "line 2: not a JSON object"),
        ('{"id": "b", "text": "x"}', 'line 2: no "_id" \\(fields: "id", "text"\\)'),
        ('{"_id": "b", "body": "x"}', 'line 2: no "text"'),
        ('{"_id": "b", "text": 1}', 'line 2: "text" is of type int; expected a string'),
        ('{"_id": "b", "text": "x", "title": ["t"]}', 'line 2: "title" is of type list'),
        ('{"_id": true, "text": "x"}', 'line 2: "_id" is of type bool'),
        ('{"_id": "b", "text": "\\ud800"}', 'line 2: "text" holds half of a surrogate pair'),
        ('{"_id": "a", "text": "x"}', "line 2: \"_id\" is 'a', as on an earlier line"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\n' + line)
    with pytest.raises(ArgumentError, match=message):
        read_jsonl(path)


def test_judgements(tmp_path: Path) -> None:
    path = data_set(tmp_path) / "qrels" / "test.tsv"
    qrels = read_qrels(path, {"q1", "q2", "q3"}, {"a", "7", "c"})
    assert qrels.judgements == {"q3": {"a": 1}, "q1": {"7": 2}}
    assert (qrels.unknown_queries, qrels.unknown_documents) == (["q9", "q9"], ["z"])
    path.write_text("q1\ta\t1\n")  # without a heading
    assert read_qrels(path, {"q1"}, {"a"}).judgements == {"q1": {"a": 1}}


@pytest.mark.parametrize("line", ["q1\ta", "q1\ta\tyes", "q1 a 1", "q1\ta\t1\t1", "q1\ta\t1.5"])
def test_bad_judgements(tmp_path: Path, line: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(ArgumentError, match=r"test.tsv, line 2: 'q1.*; expected query id, document id and an integer"):
        read_qrels(path, {"q1"}, {"a"})


def test_a_data_set(tmp_path: Path) -> None:
    found = read_beir(data_set(tmp_path))
    assert list(found.documents) == ["a", "7", "c"]
    assert found.queries == {"q1": "first", "q3": "third"}
    assert found.judgements == [{1: 2}, {0: 1}]
    assert found.notes == (
        "1 of 3 queries have no judgement above 0 and were left out.",
        "1 judgements name documents that the corpus does not have; the first is 'z'.",
        "2 judgements name queries that queries.jsonl does not have; the first is 'q9'.",
    )


def test_queries_that_have_the_id_of_a_document(tmp_path: Path) -> None:
    folder = data_set(tmp_path)
    assert read_beir(folder).own_rows == [-1, -1]
    lines = [{"_id": "c", "text": "third"}, {"_id": "q1", "text": "first"}, {"_id": 7, "text": "second"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "qrels" / "test.tsv").write_text("c\ta\t1\nq1\t7\t1\n7\t7\t1\n")
    found = read_beir(folder)
    assert found.own_rows == [2, -1, 1]
    assert found.judgements == [{0: 1}, {1: 1}, {1: 1}]  # BEIR keeps a judgement of the query's own document
    assert found.notes == ()
    (folder / "qrels" / "test.tsv").write_text("q1\t7\t1\n")
    assert read_beir(folder).own_rows == [-1]


def test_a_data_set_without_judgements(tmp_path: Path) -> None:
    found = read_beir(data_set(tmp_path, qrels=None))
    assert (list(found.queries), found.judgements, found.notes) == (["q1", "q2", "q3"], None, ())


def test_a_missing_split(tmp_path: Path) -> None:
    found = read_beir(data_set(tmp_path), split="dev")
    assert found.judgements is None
    assert found.notes == ("qrels/dev.tsv does not exist (the folder has test.tsv): measured without judgements.",)


def test_data_sets_with_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="holds no queries with a judgement"):
        read_beir(data_set(tmp_path, qrels="q1\tz\t1\n"))
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(ArgumentError, match="holds no documents"):
        read_beir(tmp_path)
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        read_beir(tmp_path)
