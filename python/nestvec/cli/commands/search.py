"""`nestvec search`: finds the nearest rows of questions or query vectors."""

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
    Engine,
    Format,
    Json,
    TextField,
    Threads,
    integers,
)
from nestvec.cli.reports import print_hits
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
        typer.Argument(metavar="[QUERY]...", help="Questions. Default, or -: a pipe.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The encoder that made the table.", show_default=False)
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits per query.")] = 10,
    threshold: Annotated[
        float | None,
        typer.Option(help="Only hits with this score or a better one; of these at most -k.", show_default=False),
    ] = None,
    dim: Annotated[
        int | None, typer.Option(min=1, help="Search this prefix of the dimensions.", show_default=False)
    ] = None,
    oversample: Annotated[
        str,
        typer.Option(metavar="INT,...", help="Rescore this many times k candidates; or a number per tier."),
    ] = "",
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Stop rescoring once this share of the best is expected to be found, e.g. 0.99.", show_default=False
        ),
    ] = None,
    query_kind: Annotated[
        str | None,
        typer.Option(
            "--query",
            help=f"codes (compress the query, too) or float, for tables of {scanned_both_ways()}.",
            show_default=False,
        ),
    ] = None,
    filter_ids: Annotated[
        str,
        typer.Option(
            metavar="INT,...|@FILE", help="Search only these ids; @FILE has an id per line.", show_default=False
        ),
    ] = "",
    vectors: Annotated[
        Path | None, typer.Option(help=".npy file of query vectors, instead of questions.", show_default=False)
    ] = None,
    format: Format = "auto",
    text_field: TextField = "text",
    device: Device = "cpu",
    engine: Engine = "auto",
    threads: Threads = None,
    json_output: Json = False,
) -> None:
    """Find the texts of a table that are nearest to a question."""
    from nestvec.table.table import Table

    options: dict[str, Any] = {"dim": dim, "confidence": confidence, "query": query_kind, "threads": threads}
    if threshold is not None:
        options["threshold"] = threshold
    if shares := integers(oversample, "--oversample"):
        options["oversample"] = shares[0] if len(shares) == 1 else shares
    if filter_ids:
        options["filter"] = _filter(filter_ids)
    with Table.open(table_file) as opened, opened.to(device) as table:
        if vectors is not None:
            if queries or model:
                raise typer.BadParameter("given are --vectors, and questions or --model; expected only one of the two")
            array = np.atleast_2d(load_npy(vectors))
            names = [f"row {row}" for row in range(len(array))]
            hits = table.search(array, k, **options)
        else:
            names = _piped_queries(format, text_field) if queries in (None, [], ["-"]) else queries
            if model is None:
                raise typer.BadParameter("questions need --model, the encoder that made the table")
            from nestvec.encoder.encoder import Encoder

            hits = table.search(
                names, k, encoder=Encoder(model, engine=engine, device=device, threads=threads), **options
            )
        found = hits.to_dicts()
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
        raise typer.BadParameter("no question is given; give one, or pipe questions in, one per line")
    return [record.text for record in TextInput("-", format, text_field, id_field="")]


def _filter(value: str) -> np.ndarray[Any, Any]:
    """The ids of --filter-ids: a comma-separated list, or after @ a file with an id per line."""
    if not value.startswith("@"):
        return np.array(integers(value, "--filter-ids"), np.int64)
    path = Path(value[1:])
    ids = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                ids.append(int(line))
            except ValueError:
                raise ArgumentError(f"{path}, line {number}: {line!r:.60}; expected an integer id") from None
    return np.array(ids, np.int64)
