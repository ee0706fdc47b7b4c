"""Reading JSON lines and plain lines."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from nestvec.errors import ArgumentError
from nestvec.io import texts as text_input
from nestvec.io.texts import Record, TextInput


def read(path: Path, **options: str) -> list[Record]:
    return list(TextInput(str(path), **options))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\ntwo\n", [("one", None), ("two", None)]),
        ("a.txt", '{"text": "not parsed"}', [('{"text": "not parsed"}', None)]),
        ("a", "\ufeffone\r\n\r\n  \ntwo words \r\n", [("one", None), ("two words ", None)]),
        ("a", '{"text": "one", "id": 7}\n\n{"id": 0, "text": "two"}\n', [("one", 7), ("two", 0)]),
        ("a", "{braces} are text\n", [("{braces} are text", None)]),
        ("a", "7\n", [("7", None)]),
        ("a.jsonl", '{"text": "one", "other": [1]}\n', [("one", None)]),
        ("a.ndjson", '{"text": "", "id": "12"}\n', [("", 12)]),
        ("a.jsonl", '{"text": "line\\nend \\ud83d\\ude00"}', [("line\nend \U0001f600", None)]),
        ("a.jsonl", "\n\n", []),
        ("a.txt", "", []),
    ],
)
def test_formats(tmp_path: Path, name: str, content: str, expected: list[tuple[str, int | None]]) -> None:
    assert read(write(tmp_path, name, content)) == expected


def test_explicit_format_wins_over_the_extension(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.jsonl", "plain\n"), format="text") == [("plain", None)]
    assert read(write(tmp_path, "a.txt", '{"text": "x"}\n'), format="jsonl") == [("x", None)]


def test_fields(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"body": "x", "_id": "3", "id": 9}\n')
    assert read(path, text_field="body", id_field="_id") == [("x", 3)]
    assert read(path, text_field="body", id_field="") == [("x", None)]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"text": "x"}\n\n{"text": }\n', {}, r"a\.jsonl, line 3: not JSON .*--format text"),
        ('["x"]\n', {}, r"line 1: a JSON array"),
        ("3\n", {}, r"line 1: not a JSON object"),
        ('{"body": "x"}\n', {}, r'line 1: no "text" \(fields: "body"\); .*--text-field'),
        ('{"text": 3}\n', {}, r'line 1: "text" is of type int; expected a string'),
        ('{"text": "x", "id": "a7"}\n', {}, r"line 1: \"id\" is 'a7'; expected an integer from 0.*--id-field"),
        ('{"text": "\\ud83d"}\n', {}, 'line 1: "text" holds half of a surrogate pair'),
        ('{"text": "x", "id": -1}\n', {}, "expected an integer from 0"),
        ('{"text": "x", "id": true}\n', {}, "expected an integer from 0"),
        ('{"text": "x", "id": 9223372036854775808}\n', {}, "expected an integer from 0"),
        ('{"text": "x", "id": 1.0}\n', {}, "expected an integer from 0"),
        ('{"text": "x", "id": 1}\n{"text": "y"}\n', {}, r'line 2: no "id", unlike the earlier lines'),
        ('{"text": "x"}\n{"text": "y", "id": 1}\n', {}, r'line 2: an "id", unlike the earlier lines'),
        ('{"text": "x"}\n', {"id_field": "key"}, r'line 1: no "key", which --id-field asks for'),
        (b'{"text": "\xff"}\n', {}, r"line 1: byte 11 is 0xFF, which is not UTF-8"),
        ("[" * 100_000, {}, "a JSON array"),
        ('{"text":' * 100_000, {}, "line 1: not JSON"),
        ("x\n", {"format": "csv"}, 'format is "csv"; expected one of auto, jsonl, text'),
    ],
)
def test_bad_lines_name_file_and_line(
    tmp_path: Path, content: str | bytes, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        read(write(tmp_path, "a.jsonl", content), **options)


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_input, "MAX_LINE_BYTES", 1000)
    path = write(tmp_path, "a.txt", "x" * 1001)
    with pytest.raises(ArgumentError, match="line 1: longer than"):
        read(path)
    assert read(write(tmp_path, "b.txt", "x" * 999 + "\n")) == [("x" * 999, None)]


def test_records_before_a_bad_line_come_first(tmp_path: Path) -> None:
    records = iter(TextInput(str(write(tmp_path, "a.jsonl", '{"text": "x"}\n{\n'))))
    assert next(records).text == "x"
    with pytest.raises(ArgumentError, match="line 2"):
        next(records)


def test_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(json.dumps({"text": f"text {i}", "id": i}) + "\n" for i in range(3))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode() + b"{")))
    source = TextInput("-")
    assert source.count() is None
    records = iter(source)
    assert [next(records) for _ in range(3)] == [(f"text {i}", i) for i in range(3)]
    with pytest.raises(ArgumentError, match="standard input, line 4"):
        next(records)


def test_count_and_blank_lines(tmp_path: Path) -> None:
    source = TextInput(str(write(tmp_path, "a.txt", "one\n\ntwo\n \nthree")))
    assert source.count() == 5
    assert [record.text for record in source] == ["one", "two", "three"]
    assert source.blank_lines == 2
    assert TextInput(str(write(tmp_path, "b.txt", "one\ntwo\n"))).count() == 2
    assert TextInput(str(write(tmp_path, "c.txt", ""))).count() == 0
