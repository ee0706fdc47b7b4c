"""Texts from files and pipes, one record at a time: JSON lines or plain lines."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from nestvec.errors import ArgumentError

FORMATS = ("auto", "jsonl", "text")
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".json")
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the names that models give to the prompt of what is searched
MAX_LINE_BYTES = 64 << 20  # what one line may cost in memory: a 60 MB "line" is a file of another kind


class Record(NamedTuple):
    """One text, and its id if the input gives ids."""

    text: str
    id: int | None


@dataclass
class TextInput:
    """The texts of the file `path` (`-` is standard input), read as they are iterated over. Iterate once over a pipe.

    `format` is `jsonl` (one object a line with `text_field`), `text` (one text a line), or `auto`: by the file's
    extension, else by whether the first line is an object. Ids are taken from `id_field`, which every line must then
    have; None takes `id` where all lines have it, and "" takes none. Blank lines are skipped and counted in
    `blank_lines`. A line that does not hold what it should is an `ArgumentError` that names the file and the line.
    """

    path: str
    format: str = "auto"
    text_field: str = "text"
    id_field: str | None = None
    blank_lines: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ArgumentError(f'format is "{self.format}"; expected one of {", ".join(FORMATS)}')

    @property
    def name(self) -> str:
        """The input as messages call it."""
        return "standard input" if self.path == "-" else self.path

    def count(self) -> int | None:
        """The lines of a file, blank ones too, from a quick pass for progress bars; None for a pipe."""
        if self.path == "-" or not Path(self.path).is_file():
            return None
        with self._open() as stream:
            lines, last = 0, b"\n"
            while chunk := stream.read(1 << 20):
                lines, last = lines + chunk.count(b"\n"), chunk[-1:]
        return lines + (last != b"\n")

    def __iter__(self) -> Iterator[Record]:
        parse_json: bool | None = None
        with_ids: bool | None = None
        for number, line in self.lines():
            if parse_json is None:
                parse_json = self._is_jsonl(line)
            record = self._from_json(line, number) if parse_json else Record(line, None)
            if with_ids is None:
                with_ids = record.id is not None
            elif with_ids != (record.id is not None):
                given = f'{"no" if with_ids else "an"} "id", unlike the lines before'
                raise self.error(number, f"{given}; give every line an id, or ignore ids with --id-field ''")
            yield record

    def lines(self) -> Iterator[tuple[int, str]]:
        """(line number from 1, decoded line without its end) of every line that is not blank."""
        self.blank_lines = 0
        with self._open() as stream:
            yield from self._lines(stream)

    def parsed(self, line: str, number: int) -> dict[str, Any]:
        """The object that a line of JSON holds."""
        if line.lstrip().startswith("["):
            raise self.error(number, "a JSON array; expected one object a line (`jq -c '.[]'` makes them of it)")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            plain = "" if self.format == "jsonl" else "; for plain lines give --format text"
            raise self.error(number, f"not JSON ({error}){plain}") from None
        if not isinstance(value, dict):
            raise self.error(number, f'not a JSON object; expected one such as {{"{self.text_field}": "..."}}')
        return value

    def string(self, value: dict[str, Any], name: str, number: int) -> str:
        """The text in a field of a line's object."""
        text = value[name]
        if not isinstance(text, str):
            raise self.error(number, f'"{name}" is of type {type(text).__name__}; expected a string')
        if not text.isascii() and not _is_utf8(text):
            raise self.error(number, f'"{name}" holds half of a surrogate pair, which no UTF-8 text can')
        return text

    def error(self, number: int, what: str) -> ArgumentError:
        """What is wrong with a line, as an exception to raise."""
        return ArgumentError(f"{self.name}, line {number}: {what}")

    def _open(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(sys.stdin.buffer) if self.path == "-" else Path(self.path).open("rb")

    def _lines(self, stream: BinaryIO) -> Iterator[tuple[int, str]]:
        number = 0
        while raw := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                raise self.error(number, f"longer than {MAX_LINE_BYTES >> 20} MiB; expected one text a line")
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                bad_byte = f"byte {error.start + 1} is 0x{raw[error.start]:02X}"
                raise self.error(number, f"{bad_byte}, which is not UTF-8") from None
            line = line.rstrip("\r\n")
            if not line or line.isspace():
                self.blank_lines += 1
            else:
                yield number, line

    def _is_jsonl(self, first_line: str) -> bool:
        if self.format != "auto":
            return self.format == "jsonl"
        suffix = Path(self.path).suffix.lower()
        if suffix in JSONL_SUFFIXES or suffix == ".txt":
            return suffix != ".txt"
        try:
            return isinstance(json.loads(first_line), dict)
        except (ValueError, RecursionError):
            return False

    def _from_json(self, line: str, number: int) -> Record:
        value = self.parsed(line, number)
        if self.text_field not in value:
            fields = ", ".join(f'"{name}"' for name in list(value)[:8]) or "none"
            raise self.error(number, f'no "{self.text_field}" (fields: {fields}); name the field with --text-field')
        text = self.string(value, self.text_field, number)
        name = "id" if self.id_field is None else self.id_field
        if name in value and name:
            return Record(text, self._id(name, value[name], number))
        if self.id_field:
            raise self.error(number, f'no "{name}", which --id-field asks for')
        return Record(text, None)

    def _id(self, name: str, value: object, number: int) -> int:
        """An id as tables take it; decimal strings count, because many collections write their ids so."""
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            given = f'"{name}" is {value!r:.60}'
            raise self.error(number, f"{given}; expected an integer from 0 to 2**63 - 1, or ignore ids: --id-field ''")
        return value


class RecordQueue:
    """Hands out records by column to a builder: it takes texts ahead of the rows, then ids and texts as rows come."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self._ids: deque[int | None] = deque()
        self._texts: deque[str] = deque()

    def feed(self) -> Iterator[str]:
        """Every text, for the encoder; the other two only ever hold what this has given."""
        for record in self._records:
            self._ids.append(record.id)
            self._texts.append(record.text)
            yield record.text

    def ids(self) -> Iterator[int]:
        """The ids, in the order of the texts; for records that have them."""
        while self._ids:
            row_id = self._ids.popleft()
            assert row_id is not None
            yield row_id

    def texts(self) -> Iterator[str]:
        """The texts again, in the same order."""
        while self._texts:
            yield self._texts.popleft()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
