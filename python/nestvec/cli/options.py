"""What the commands share: options, the check of what they will write, and examples under their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nestvec.errors import ArgumentError

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


def integers(value: str, option: str) -> list[int]:
    """The integers of a list with commas."""
    try:
        return [int(part) for part in value.split(",")] if value else []
    except ValueError:
        raise typer.BadParameter(f"{option} is {value!r}; expected integers with commas, such as 64,128") from None
