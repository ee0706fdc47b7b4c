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
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # models' names for the prompt of the corpus
MAX_LINE_BYTES = 64 << 20  # bounds memory: a file with longer "lines" is of another kind


class Record(NamedTuple):
    """A text, and its id if the input has ids."""

    text: str
    id: int | None


@dataclass
class TextInput:
    """The texts of the file `path` (`-` is standard input), streamed. A pipe can be iterated over once.

    `format` is `jsonl` (one object a line with `text_field`), `text` (one text a line), or `auto`: by the file's
    extension, else `jsonl` if the first line is an object. Ids come from `id_field`, which every line must then have;
    None takes `id` if all lines have it, and "" takes none. Blank lines are skipped and counted in `blank_lines`.
    A line with other content raises an `ArgumentError` that names the file and the line.
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
        """The name of the input in messages."""
        return "standard input" if self.path == "-" else self.path

    def count(self) -> int | None:
        """Counts the lines of a file, blank lines included, for progress bars; None for a pipe."""
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
                given = f'{"no" if with_ids else "an"} "id", unlike the earlier lines'
                raise self.error(number, f"{given}; give every line an id, or ignore ids with --id-field ''")
            yield record

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yields (line number from 1, decoded line without its end) for every line that is not blank."""
        self.blank_lines = 0
        with self._open() as stream:
            yield from self._lines(stream)

    def parsed(self, line: str, number: int) -> dict[str, Any]:
        """Parses a line that holds a JSON object. Raises `ArgumentError`."""
        if line.lstrip().startswith("["):
            raise self.error(number, "a JSON array; expected one object a line (`jq -c '.[]'` splits an array)")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            plain = "" if self.format == "jsonl" else "; for plain lines give --format text"
            raise self.error(number, f"not JSON ({error}){plain}") from None
        if not isinstance(value, dict):
            raise self.error(number, f'not a JSON object; expected one such as {{"{self.text_field}": "..."}}')
        return value

    def string(self, value: dict[str, Any], name: str, number: int) -> str:
        """Returns the string in a field of a line's object. Raises `ArgumentError`."""
        text = value[name]
        if not isinstance(text, str):
            raise self.error(number, f'"{name}" is of type {type(text).__name__}; expected a string')
        if not text.isascii() and not _is_utf8(text):
            what = f'"{name}" holds half of a surrogate pair'
            raise self.error(number, f"{what}; expected text that UTF-8 can encode")
        return text

    def error(self, number: int, what: str) -> ArgumentError:
        """Makes the exception for a bad line."""
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
        """Checks an id. Decimal strings are accepted, since many collections write ids as strings."""
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            given = f'"{name}" is {value!r:.60}'
            raise self.error(number, f"{given}; expected an integer from 0 to 2**63 - 1, or ignore ids: --id-field ''")
        return value


class RecordQueue:
    """Splits records into columns for `Table.build`, which reads texts first and ids and texts again with the rows."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self._ids: deque[int | None] = deque()
        self._texts: deque[str] = deque()

    def feed(self) -> Iterator[str]:
        """Yields every text, for the encoder. `ids` and `texts` yield only records that this has yielded."""
        for record in self._records:
            self._ids.append(record.id)
            self._texts.append(record.text)
            yield record.text

    def ids(self) -> Iterator[int]:
        """Yields the ids, in the order of the texts; for records with ids."""
        while self._ids:
            row_id = self._ids.popleft()
            assert row_id is not None
            yield row_id

    def texts(self) -> Iterator[str]:
        """Yields the texts again, in the same order."""
        while self._texts:
            yield self._texts.popleft()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
