"""`nestvec tune`: reads files, measures, prints a table and the choice, writes the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from nestvec.cli.console import (
    duration,
    message_console,
    one_line,
    output_console,
    print_facts,
    print_json,
    print_table,
    step_progress,
)
from nestvec.cli.options import Device, Json, Threads, check_output
from nestvec.codecs.names import listed
from nestvec.errors import ArgumentError

if TYPE_CHECKING:
    from nestvec.evaluate.interval import Interval
    from nestvec.tuning.result import Measured, TuneResult

EXAMPLES = (
    "nestvec tune docs.npy --queries questions.npy --max-bytes 64 --report report.html",
    "nestvec tune ./nfcorpus -m ./model --cache ./vectors --min-recall 0.95",
)
INTERRUPTED = 130  # what a shell gives a command that Ctrl-C ended
_WIDE = 118  # columns of a terminal that show every figure


def tune(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Vectors (.npy, .safetensors, .parquet), texts (JSON lines or plain lines), or a folder with "
            "corpus.jsonl, queries.jsonl and qrels/test.tsv, and perhaps corpus.npy and queries.npy.",
            show_default=False,
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries, a file like INPUT. Default: some rows of INPUT, taken out.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Encodes texts: directory, .onnx file, or hub id.", show_default=False),
    ] = None,
    max_bytes: Annotated[
        float | None,
        typer.Option(help="Bytes a row may take, memory and disk.", show_default=False, rich_help_panel="Budget"),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(
            help="recall@10 to reach, with the low end of its interval. Default without any limit: 0.95.",
            show_default=False,
            rich_help_panel="Budget",
        ),
    ] = None,
    max_ms: Annotated[
        float | None,
        typer.Option(help="Milliseconds that one query may take.", show_default=False, rich_help_panel="Budget"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML file to write, with plots, all in one.", show_default=False)
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a PNG of each plot.", show_default=False)
    ] = None,
    json_output: Json = False,
    metric: Annotated[str, typer.Option(help="cosine, ip or l2.")] = "cosine",
    codecs: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help=f"Measure only these, such as binary+int8,opq48x8. Tiers: {listed()}.",
            show_default=False,
        ),
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=2, help="Measure on this many rows, evenly spaced.", show_default=False)
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(
            help="Tensor, column or JSON field to read. Default: the only one that fits; for texts, text.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the vectors of texts here for the next run.", show_default=False),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Measure every way to compress on your vectors, and get the one for your budget.

    Marks the candidates that nothing beats: in recall@10 for the bytes, for the milliseconds. Ctrl-C ends measuring,
    reports what is known by then, and exits with 130.
    """
    if report is not None:
        check_output(report)
    if plots is not None:
        _check_plots(plots)
    names = [name.strip() for name in codecs.split(",")] if codecs else None
    from nestvec.tuning.input import TextEncoder, read_tune_input
    from nestvec.tuning.run import tune as measure

    given = read_tune_input(source, queries, TextEncoder(model, cache, device, threads), field, limit)
    with step_progress(message_console(), "measuring") as on_progress:
        result = measure(
            given.x,
            given.queries,
            relevance=given.relevance,
            metric=metric,
            max_bytes=max_bytes,
            min_recall=min_recall,
            max_ms=max_ms,
            codecs=names,
            threads=threads,
            title=given.title,
            notes=given.notes,
            on_progress=on_progress,
        )
    written = _write(result, report, plots)
    if json_output:
        print_json(result.to_dict() | {"written": [str(path) for path in written]})
    else:
        print_result(output_console(), result, written)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def _check_plots(folder: Path) -> None:
    from nestvec.base.optional import require

    require("matplotlib", "plot", "--plots")
    if not folder.is_dir() and (folder.exists() or not folder.parent.is_dir()):
        raise ArgumentError(f"--plots is {folder}; expected a folder, or the name of a new one in a folder")


def _write(result: TuneResult, report: Path | None, plots: Path | None) -> list[Path]:
    written = []
    if report is not None:
        from nestvec.tuning.report.html import write_report

        write_report(result, report)
        written.append(report)
    if plots is not None:
        from nestvec.tuning.report.plots import write_plots

        written += write_plots(result, plots)
    return written


def print_result(console: Console, result: TuneResult, written: list[Path]) -> None:
    """The measured, fewest bytes first, what was not measured, and the choice with its call."""
    asked = f"{result.queries:,} queries" + ("" if result.exact_ndcg10 is None else " with judgements")
    exact = "" if result.exact_ndcg10 is None else f", exact float32 nDCG@10 {result.exact_ndcg10.mean:.4f}"
    console.print(
        f"[bold]{escape(result.title)}[/]  {result.rows:,} rows of {result.dim}, {asked}, {result.metric}{exact}",
        soft_wrap=True,
    )
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print()
    if result.measured:
        print_table(console, _grid(result, wide=console.width >= _WIDE))
        console.print("[dim]* nothing has more recall@10 in as few bytes; > nothing has more in as short a time[/]")
    for reason in dict.fromkeys(reason for _, reason in result.skipped):
        names = ", ".join(name for name, why in result.skipped if why == reason)
        console.print(f"[dim]not measured: {escape(names)}: {escape(one_line(reason))}[/]", soft_wrap=True)
    stopped = "stopped before all was measured, after " if result.interrupted else ""
    facts = [("choice", result.chosen or "none"), ("why", result.why), ("time", stopped + duration(result.seconds))]
    facts += [("written", str(path)) for path in written]
    console.print()
    print_facts(console, facts)
    if result.choice is not None:
        console.print()
        for line in result.choice.call.splitlines():
            console.print(f"  [green]{escape(line)}[/]", soft_wrap=True)


def _grid(result: TuneResult, wide: bool) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, 1))
    grid.add_column("")
    grid.add_column("candidate")
    judged = result.exact_ndcg10 is not None
    headings = ["B/row", "recall@10", "95%", "@100", *(["nDCG@10"] if judged else []), "ms"]
    for heading in headings + (["queries/s", "built/s"] if wide else []):
        grid.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(result.measured, key=lambda one: (one.bytes_per_row, -one.recall10.mean)):
        mark = ("*" if one.pareto_bytes else " ") + (">" if one.pareto_ms else "")
        figures = [f"{one.bytes_per_row:g}", f"{one.recall10.mean:.3f}", _ends(one.recall10)]
        figures += [f"{one.recall100.mean:.3f}", *([_ndcg(one)] if judged else []), f"{one.ms_one:.3f}"]
        if wide:
            figures += [f"{one.queries_per_second_batch:,.0f}", f"{one.build_rows_per_second:,.0f}"]
        style = "bold green" if one.name == result.chosen else "bold" if one.pareto_bytes or one.pareto_ms else "dim"
        grid.add_row(mark, escape(one.name), *figures, style=style)
    return grid


def _ends(interval: Interval) -> str:
    return f"{interval.low:.3f}-{interval.high:.3f}"


def _ndcg(one: Measured) -> str:
    return "" if one.ndcg10 is None else f"{one.ndcg10.mean:.4f}"
