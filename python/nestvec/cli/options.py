"""What the commands share: options, the check of what they will write, and examples under their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nestvec.errors import ArgumentError

Device = Annotated[str, typer.Option(help="cpu, cuda, or cuda:1 for a GPU by its number.", rich_help_panel="Machine")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Default: what this process may use.", show_default=False, rich_help_panel="Machine"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def check_output(path: Path) -> None:
    """Refuses what could not be written, before the hours of work and not after."""
    if not path.parent.is_dir():
        raise ArgumentError(f"there is no folder {path.parent} to write {path.name} to")
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder; expected the name of a file to write")


def epilog(*lines: str) -> str:
    """The examples of a command's help."""
    return "[bold]Example[/]\n\n" + "\n\n".join(escape(line) for line in lines)
