"""Reports of the commands: the same facts as JSON values and as tables for people."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from nestvec.cli.console import duration, one_line, print_facts, print_table, size
from nestvec.table.section_names import CODES, FACTORS, TEXT_BYTES, of_tier

if TYPE_CHECKING:
    from nestvec.encoder.stats import EncodeStats
    from nestvec.table.table import Table

SHOWN_CHARS = 300  # of a text in a table for people; --json prints all of it

Facts = list[tuple[str, str]]


def encode_report(stats: EncodeStats) -> dict[str, Any]:
    """Converts an `EncodeStats` to the values of `--json`, with the rate."""
    report = dataclasses.asdict(stats)
    report["texts_per_second"] = stats.texts / stats.seconds_total if stats.seconds_total else 0.0
    return report


def encode_facts(report: dict[str, Any], blank_lines: int) -> Facts:
    """Statistics of an encoding: counts, rate, and shares of the time."""
    texts = f"{report['texts']:,} with {report['tokens']:,} tokens"
    if blank_lines:
        texts += f"; {blank_lines:,} blank lines skipped"
    rate = f"{report['texts_per_second']:,.0f} texts/s for {duration(report['seconds_total'])}"
    return [("texts", texts), ("encoding", rate), ("time", time_split(report))]


def time_split(report: dict[str, Any]) -> str:
    """The shares of the engine and of the rest; tokenizing runs concurrently."""
    total = report["seconds_total"] or 1.0
    engine, rest, tokenize = (report[f"seconds_{part}"] / total for part in ("engine", "rest", "tokenize"))
    return f"engine {engine:.1%}, the rest {rest:.1%}; tokenizing, concurrently, {tokenize:.1%}"


def table_facts(table: Table) -> Facts:
    """Facts on a table: rows, codecs and sizes."""
    nested = [str(dim) for dim in table.dims if dim != table.dim]
    prefixes = f"; prefixes {', '.join(nested)}" if nested else ""
    codecs = ", rescored with ".join(table.codecs)
    fine = f"; rescored over {table.fine_dim}" if table.fine_dim else ""
    smaller = (table.dim + (table.fine_dim or 0)) * 4 / table.bytes_per_row
    learned = [("learned", size(table.codebook_bytes))] if table.codebook_bytes else []
    return [
        ("rows", f"{table.rows:,} of {table.dim} dimensions{prefixes}{fine}"),
        ("codec", f"{codecs}; metric {table.metric}"),
        ("row", f"{table.bytes_per_row:g} bytes, {smaller:.1f} times smaller than float32"),
        *learned,
    ]


def print_table_info(console: Console, path: Path, table: Table) -> None:
    """Prints a table's facts, its tiers, and the encoder that made it."""
    info = table.info()
    console.print(f"[bold]{escape(str(path))}[/]  {size(path.stat().st_size)}")
    texts = info["sections"].get(TEXT_BYTES)
    ids = "own" if info["has_ids"] else "row numbers"
    print_facts(console, [*table_facts(table), ("ids", ids), ("texts", size(texts["bytes"]) if texts else "none")])
    grid = Grid(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("tier", "codec", "bytes/row", "bytes", "of float32"):
        grid.add_column(heading, justify="left" if heading in ("tier", "codec") else "right")
    for number, codec in enumerate(table.codecs):
        parts = (info["sections"].get(of_tier(number, part), {"bytes": 0}) for part in (CODES, FACTORS))
        used, rows = sum(part["bytes"] for part in parts), max(table.rows, 1)
        role, dim = ("rescores", table.fine_dim or table.dim) if number else ("scanned", table.dim)
        grid.add_row(role, codec, f"{used / rows:.4g}", size(used), f"{used / rows / (4 * dim):.1%}")
    console.print()
    print_table(console, grid)
    console.print()
    console.print("[bold]encoder[/]" if table.encoder else "vectors of an unknown encoder")
    facts = (table.encoder or {}).items()
    print_facts(console, [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in facts])


def print_hits(console: Console, metric: str, rows: list[dict[str, Any]]) -> None:
    """Prints the hits of a query, a line each."""
    if not rows:
        console.print("no hits")
        return
    grid = Grid(box=None, pad_edge=False, padding=(0, 1), expand=console.is_terminal and "text" in rows[0])
    grid.add_column("distance" if metric == "hamming" else metric, justify="right", style="green", no_wrap=True)
    grid.add_column("id", justify="right", style="bold cyan", no_wrap=True)
    if "text" in rows[0]:
        grid.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1 if console.is_terminal else None)
    for row in rows:
        score = str(row["score"]) if metric == "hamming" else f"{row['score']:.4f}"
        text = [escape(one_line(row["text"])[:SHOWN_CHARS])] if "text" in row else []
        grid.add_row(score, str(row["id"]), *text)
    print_table(console, grid)
