"""The command line: each command reads its arguments, calls the library, and prints a report."""

from __future__ import annotations

import os
import sys
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from typer.core import TyperGroup

from nestvec.cli.commands.tune import tune
from nestvec.cli.console import (
    EncodeProgress,
    duration,
    message_console,
    one_line,
    output_console,
    print_facts,
    print_json,
    size,
)
from nestvec.cli.options import Device, Json, Threads, check_output, epilog
from nestvec.cli.reports import encode_facts, encode_report, hit_rows, print_hits, print_table_info, table_facts
from nestvec.errors import ArgumentError, NestvecError
from nestvec.io.texts import DOCUMENT_PROMPTS, RecordQueue, TextInput
from nestvec.io.vectors import load_npy

if TYPE_CHECKING:
    from nestvec.encoder.encoder import Encoder


class Commands(TyperGroup):
    """Turns the errors that a user can mend into one line and exit code 1; NESTVEC_DEBUG=1 shows where they arose."""

    def invoke(self, ctx: Any) -> Any:
        """Runs one command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has seen enough: typer exits quietly
            raise
        except (NestvecError, OSError) as error:
            if os.environ.get("NESTVEC_DEBUG") == "1":
                raise
            message = str(error)
            if isinstance(error, OSError) and error.strerror:
                message = error.strerror + (f": {error.filename}" if error.filename else "")
            message_console().print(f"[bold red]nestvec: error:[/] {escape(one_line(message))}", soft_wrap=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From text to top-k: encode texts with an ONNX model, build a compressed table, search it.",
    epilog="Example: [bold]nestvec build docs.jsonl -m ./model -o docs.safetensors[/]",
)

Source = Annotated[
    str, typer.Argument(metavar="INPUT", help="JSON lines or plain text lines; - reads a pipe.", show_default=False)
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Model directory, .onnx file, or hub id.", show_default=False),
]
Format = Annotated[
    str, typer.Option(help="auto, jsonl (one object a line) or text (one text a line).", rich_help_panel="Input lines")
]
TextField = Annotated[str, typer.Option(help="Field of a JSON line with the text.", rich_help_panel="Input lines")]
IdField = Annotated[
    str | None,
    typer.Option(
        help="Field of an integer id. Default: id, where lines have it; '' for none.",
        show_default=False,
        rich_help_panel="Input lines",
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="Name of one of the model's prompts. Default: the model's own choice.", show_default=False),
]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from nestvec import __version__

        typer.echo(f"nestvec {__version__}")
        raise typer.Exit


@app.command(epilog=epilog("nestvec export ./all-MiniLM-L6-v2"))
def export(
    model_dir: Annotated[Path, typer.Argument(help="Safetensors model directory, BERT family.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL_DIR/onnx/model.onnx.", show_default=False)
    ] = None,
    json_output: Json = False,
) -> None:
    """Turn a safetensors model directory into ONNX, without PyTorch."""
    from nestvec.export.export import export_onnx

    start = time.perf_counter()
    console = message_console()
    with console.status(f"exporting {escape(str(model_dir))}"):
        path = export_onnx(model_dir, output)
    seconds, size_bytes = time.perf_counter() - start, path.stat().st_size
    if json_output:
        print_json({"output": str(path), "bytes": size_bytes, "seconds": seconds})
    else:
        print_facts(output_console(), [("written", f"{path}  ({size(size_bytes)})"), ("time", duration(seconds))])


@app.command(
    epilog=epilog(
        "nestvec encode docs.jsonl -m ./all-MiniLM-L6-v2 -o docs.npy",
        "head -n 100 notes.txt | nestvec encode - -m ./model -o notes.npy --dim 128",
    )
)
def encode(
    source: Source,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help=".npy file to write.", show_default=False)],
    precision: Annotated[str, typer.Option(help="float32, float16, int8, uint8, binary or ubinary.")] = "float32",
    dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.", show_default=False)] = None,
    prompt: Prompt = None,
    format: Format = "auto",
    text_field: TextField = "text",
    device: Device = "cpu",
    threads: Threads = None,
    json_output: Json = False,
) -> None:
    """Encode texts into the rows of a .npy file, streaming."""
    from nestvec.encoder.encoder import Encoder, EncodeStats
    from nestvec.io.npy import write_npy

    check_output(output)
    texts = TextInput(source, format, text_field, id_field="")
    total = texts.count()
    encoder, stats = Encoder(model, device=device, threads=threads), EncodeStats()
    records = (record.text for record in texts)
    with EncodeProgress(message_console(), "encoding", total, stats):
        batches = encoder.encode_batches(records, prompt=prompt, dim=dim, precision=precision, stats=stats)
        none = encoder.encode([], prompt=prompt, dim=dim, precision=precision)  # gives an empty input its shape
        rows, dtype = write_npy(output, chain([none], batches))
    if json_output:
        shape = {"rows": rows, "dim": none.shape[1], "dtype": str(dtype), "precision": precision}
        print_json({"output": str(output), **shape, "blank_lines": texts.blank_lines, "encode": encode_report(stats)})
        return
    facts = [("written", f"{output}  ({rows:,} x {none.shape[1]} {dtype}, {size(output.stat().st_size)})")]
    print_facts(output_console(), facts + encode_facts(encode_report(stats), texts.blank_lines))


@app.command(
    epilog=epilog(
        "nestvec build docs.jsonl -m ./all-MiniLM-L6-v2 -o docs.safetensors",
        "zcat docs.gz | nestvec build - -m ./model -o docs.safetensors --dims 64,128",
    )
)
def build(
    source: Source,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table file to write.", show_default=False)],
    codec: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What is scanned, then what scores the best again: binary, int4, int8, bfloat16, float16, float32, "
            "pq<m>x8, opq<m>x8 (pq96x8), rabitq<b>, planes<b>.",
        ),
    ] = "binary,int8",
    dims: Annotated[
        str, typer.Option(metavar="INT,...", help="Shorter prefixes to search later with --dim.", show_default=False)
    ] = "",
    prompt: Annotated[
        str | None,
        typer.Option(help="Default: the model's document, passage or corpus prompt.", show_default=False),
    ] = None,
    no_texts: Annotated[bool, typer.Option("--no-texts", help="Store vectors only.")] = False,
    format: Format = "auto",
    text_field: TextField = "text",
    id_field: IdField = None,
    device: Device = "cpu",
    threads: Threads = None,
    json_output: Json = False,
) -> None:
    """Encode texts and build a compressed table, streaming."""
    from nestvec.encoder.encoder import Encoder, EncodeStats
    from nestvec.table.table import Table

    check_output(output)
    prefixes = _integers(dims, "--dims")
    texts = TextInput(source, format, text_field, id_field)
    total = texts.count()
    records = iter(texts)
    first = next(records, None)
    if first is None:
        raise ArgumentError(f"{texts.name} holds no texts; a table needs at least one")
    encoder, stats = Encoder(model, device=device, threads=threads), EncodeStats()
    queue = RecordQueue(chain([first], records))
    with EncodeProgress(message_console(), "building", total, stats):
        table = Table.build(
            encoder.encode_batches(queue.feed(), prompt=_document_prompt(encoder, prompt), stats=stats),
            codec=codec.split(","),
            dims=prefixes,
            ids=None if first.id is None else queue.ids(),
            texts=None if no_texts else queue.texts(),
            encoder=encoder,
            path=output,
        )
    encoded = encode_report(stats)
    with table:
        if json_output:
            print_json(
                {"output": str(output), "blank_lines": texts.blank_lines, "table": table.info(), "encode": encoded}
            )
        else:
            facts = [("written", f"{output}  ({size(output.stat().st_size)})"), *table_facts(table)]
            print_facts(output_console(), facts + encode_facts(encoded, texts.blank_lines))


def _document_prompt(encoder: Encoder, prompt: str | None) -> str | None:
    if prompt is not None:
        return prompt
    return next((name for name in DOCUMENT_PROMPTS if name in encoder.prompts), None)


@app.command(
    epilog=epilog(
        'nestvec search docs.safetensors "how do I parse a date" -m ./all-MiniLM-L6-v2',
        "nestvec search docs.safetensors -m ./model --json < questions.txt",
    )
)
def search(
    table_file: Annotated[Path, typer.Argument(metavar="TABLE", help="Table file.", show_default=False)],
    queries: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]...", help="Questions; - or none reads a pipe.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The encoder that made the table.", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits for each query.")] = 10,
    dim: Annotated[
        int | None, typer.Option(min=1, help="Search this prefix of the table's dims.", show_default=False)
    ] = None,
    oversample: Annotated[
        str,
        typer.Option(metavar="INT,...", help="Re-score this many times k candidates; or one number for each tier."),
    ] = "",
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Re-score only until this share of the best is found, 0.99 for instance.", show_default=False
        ),
    ] = None,
    query_kind: Annotated[
        str | None,
        typer.Option(
            "--query",
            help="codes (the query compressed, too) or float, for tables of binary and planes<b>.",
            show_default=False,
        ),
    ] = None,
    filter_ids: Annotated[
        str,
        typer.Option(metavar="INT,...|@FILE", help="Search only these ids; @FILE has one a line.", show_default=False),
    ] = "",
    vectors: Annotated[
        Path | None, typer.Option(help=".npy file of query vectors, in place of questions.", show_default=False)
    ] = None,
    format: Format = "auto",
    text_field: TextField = "text",
    device: Device = "cpu",
    threads: Threads = None,
    json_output: Json = False,
) -> None:
    """Find the texts of a table that are nearest to a question."""
    from nestvec.table.table import Table

    options: dict[str, Any] = {"dim": dim, "confidence": confidence, "query": query_kind, "threads": threads}
    if shares := _integers(oversample, "--oversample"):
        options["oversample"] = shares[0] if len(shares) == 1 else shares
    if filter_ids:
        options["filter"] = _filter(filter_ids)
    with Table.open(table_file) as opened, opened.to(device) as table:
        if vectors is not None:
            if queries or model:
                raise typer.BadParameter("give questions and --model, or --vectors, not both")
            array = np.atleast_2d(load_npy(vectors))
            names = [f"row {row}" for row in range(len(array))]
            hits = table.search(array, k, **options)
        else:
            names = _piped_queries(format, text_field) if queries in (None, [], ["-"]) else queries
            if model is None:
                raise typer.BadParameter("questions need --model, the encoder that made the table")
            from nestvec.encoder.encoder import Encoder

            hits = table.search(names, k, encoder=Encoder(model, device=device, threads=threads), **options)
        found = list(hit_rows(hits, table.has_texts))
    if json_output:
        results = [{"query": name, "hits": rows} for name, rows in zip(names, found, strict=True)]
        tiers = [tier._asdict() for tier in hits.stats or ()]
        print_json({"table": str(table_file), "metric": hits.metric, "tiers": tiers, "results": results})
        return
    console = output_console()
    for number, (name, rows) in enumerate(zip(names, found, strict=True)):
        if len(names) > 1:
            console.print("\n" if number else "", end="")
            console.print(f"[bold yellow]?[/] [bold]{escape(name)}[/]", overflow="ellipsis", no_wrap=True)
        print_hits(console, hits.metric, rows)


def _piped_queries(format: str, text_field: str) -> list[str]:
    if sys.stdin.isatty():
        raise typer.BadParameter("give a question, or pipe questions in, one a line")
    return [record.text for record in TextInput("-", format, text_field, id_field="")]


def _filter(value: str) -> np.ndarray[Any, Any]:
    """The ids of --filter-ids: a list with commas, or after @ a file with one a line."""
    if not value.startswith("@"):
        return np.array(_integers(value, "--filter-ids"), np.int64)
    path = Path(value[1:])
    ids = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                ids.append(int(line))
            except ValueError:
                raise ArgumentError(f"{path}, line {number}: {line!r:.60}; expected one integer id") from None
    return np.array(ids, np.int64)


def _integers(value: str, option: str) -> list[int]:
    """The integers of a list with commas."""
    try:
        return [int(part) for part in value.split(",")] if value else []
    except ValueError:
        raise typer.BadParameter(f"{option} is {value!r}; expected integers with commas, such as 64,128") from None


app.command(
    epilog=epilog(
        "nestvec tune docs.npy --queries questions.npy --max-bytes 64 --report report.html",
        "nestvec tune ./nfcorpus -m ./model --cache ./vectors --min-recall 0.95",
    )
)(tune)


@app.command(epilog=epilog("nestvec info docs.safetensors"))
def info(
    table_file: Annotated[Path, typer.Argument(metavar="TABLE", help="Table file.", show_default=False)],
    json_output: Json = False,
) -> None:
    """Show what a table holds: tiers, sizes, and the encoder that made it."""
    from nestvec.table.table import Table

    with Table.open(table_file) as table:
        if json_output:
            print_json({"table": str(table_file), "file_bytes": table_file.stat().st_size, **table.info()})
        else:
            print_table_info(output_console(), table_file, table)


@app.command(epilog=epilog("nestvec doctor", "nestvec doctor --json"))
def doctor(json_output: Json = False) -> None:
    """Show what nestvec found on this machine, and what is wrong with it."""
    from nestvec.cli.commands.doctor import diagnose, print_report

    report = diagnose()
    if json_output:
        print_json(report)
    else:
        print_report(output_console(), report)
    if report["problems"]:
        raise typer.Exit(1)
