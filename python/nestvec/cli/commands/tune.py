"""`nestvec tune`: reads files, measures candidates, prints a table and the choice, writes the report."""

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
from nestvec.cli.options import INTERRUPTED, Device, Json, Threads, check_output
from nestvec.codecs.names import listed
from nestvec.errors import ArgumentError

if TYPE_CHECKING:
    from nestvec.evaluate.interval import Interval
    from nestvec.tuning.result import Measured, TuneResult

EXAMPLES = (
    "nestvec tune docs.npy --queries questions.npy --max-bytes 64 --report report.html",
    "nestvec tune ./nfcorpus -m ./model --cache ./vectors --min-recall 0.95",
)
_WIDE = 118  # columns of a terminal that fit every figure


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
        typer.Option(help="Queries, a file like INPUT. Default: rows held out of INPUT.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Encoder of texts: directory, .onnx file, or hub id.", show_default=False),
    ] = None,
    max_bytes: Annotated[
        float | None,
        typer.Option(
            help="Bytes per row, at most, in memory and on disk.", show_default=False, rich_help_panel="Budget"
        ),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(
            help="recall@10, at least, by the low end of its interval. Default if no budget is given: 0.95.",
            show_default=False,
            rich_help_panel="Budget",
        ),
    ] = None,
    max_ms: Annotated[
        float | None,
        typer.Option(help="Milliseconds per query, at most.", show_default=False, rich_help_panel="Budget"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML file to write, self-contained, with plots.", show_default=False)
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the plots as PNG files.", show_default=False)
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
        int | None, typer.Option(min=2, help="Measure on this many evenly spaced rows.", show_default=False)
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(
            help="Tensor, column or JSON field. Default: the only one that fits; text for texts.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cache for the vectors of texts.", show_default=False),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Measure every codec on your vectors, and choose the best for your budget.

    Marks the candidates on the front of recall@10 and bytes, and of recall@10 and milliseconds. Ctrl-C stops the
    measurements, reports the results so far, and exits with 130.
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
            own_rows=given.own_rows,
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
    if not folder.is_dir() and (folder.exists() or folder.is_symlink() or not folder.parent.is_dir()):
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
    """Prints the measured candidates, fewest bytes first, the skipped ones, and the choice with its call."""
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
        console.print("[dim]* most recall@10 for its bytes; > most recall@10 for its time[/]")
    for reason in dict.fromkeys(reason for _, reason in result.skipped):
        names = ", ".join(name for name, why in result.skipped if why == reason)
        console.print(f"[dim]not measured: {escape(names)}: {escape(one_line(reason))}[/]", soft_wrap=True)
    stopped = "interrupted after " if result.interrupted else ""
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
    for row in sorted(result.measured, key=lambda row: (row.bytes_per_row, -row.recall10.mean)):
        mark = ("*" if row.pareto_bytes else " ") + (">" if row.pareto_ms else "")
        figures = [f"{row.bytes_per_row:g}", f"{row.recall10.mean:.3f}", _ends(row.recall10)]
        figures += [f"{row.recall100.mean:.3f}", *([_ndcg(row)] if judged else []), f"{row.ms_one:.3f}"]
        if wide:
            figures += [f"{row.queries_per_second_batch:,.0f}", f"{row.build_rows_per_second:,.0f}"]
        style = "bold green" if row.name == result.chosen else "bold" if row.pareto_bytes or row.pareto_ms else "dim"
        grid.add_row(mark, escape(row.name), *figures, style=style)
    return grid


def _ends(interval: Interval) -> str:
    return f"{interval.low:.3f}-{interval.high:.3f}"


def _ndcg(row: Measured) -> str:
    return "" if row.ndcg10 is None else f"{row.ndcg10.mean:.4f}"
