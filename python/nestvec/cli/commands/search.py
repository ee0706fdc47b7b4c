"""`nestvec search`: questions, or query vectors, find their nearest rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from nestvec.cli.console import output_console, print_json
from nestvec.cli.options import (
    Device,
    Format,
    Json,
    TextField,
    Threads,
    integers,
)
from nestvec.cli.reports import hit_rows, print_hits
from nestvec.codecs.names import scanned_both_ways
from nestvec.errors import ArgumentError
from nestvec.io.texts import TextInput
from nestvec.io.vectors import load_npy

EXAMPLES = (
    'nestvec search docs.safetensors "how do I parse a date" -m ./all-MiniLM-L6-v2',
    "nestvec search docs.safetensors -m ./model --json < questions.txt",
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
        typer.Option(metavar="INT,...", help="Rescore this many times k candidates; or one number for each tier."),
    ] = "",
    confidence: Annotated[
        float | None,
        typer.Option(help="Rescore only until this share of the best is found, 0.99 for instance.", show_default=False),
    ] = None,
    query_kind: Annotated[
        str | None,
        typer.Option(
            "--query",
            help=f"codes (the query compressed, too) or float, for tables of {scanned_both_ways()}.",
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
    if shares := integers(oversample, "--oversample"):
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
        return np.array(integers(value, "--filter-ids"), np.int64)
    path = Path(value[1:])
    ids = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                ids.append(int(line))
            except ValueError:
                raise ArgumentError(f"{path}, line {number}: {line!r:.60}; expected one integer id") from None
    return np.array(ids, np.int64)
