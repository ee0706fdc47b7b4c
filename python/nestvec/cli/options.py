"""Shared parts of the commands: options, the check of output paths, and examples under the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nestvec.base.files import destination
from nestvec.errors import ArgumentError

Source = Annotated[
    str, typer.Argument(metavar="INPUT", help="JSON lines or plain text lines; - for a pipe.", show_default=False)
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Model directory, .onnx file, or hub id.", show_default=False),
]
Format = Annotated[
    str, typer.Option(help="auto, jsonl (an object per line) or text (a text per line).", rich_help_panel="Input lines")
]
TextField = Annotated[str, typer.Option(help="JSON field of the text.", rich_help_panel="Input lines")]
IdField = Annotated[
    str | None,
    typer.Option(
        help="JSON field of an integer id. Default: id, if all lines have it; '' for none.",
        show_default=False,
        rich_help_panel="Input lines",
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="Name of one of the model's prompts. Default: the model's default.", show_default=False),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or cuda:1 for a GPU by its number.", rich_help_panel="Machine")]
Engine = Annotated[
    str, typer.Option(help="auto, native (nestvec's own kernels) or onnxruntime.", rich_help_panel="Machine")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Default: all that this process may use.", show_default=False, rich_help_panel="Machine"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

INTERRUPTED = 130  # a shell's exit code after Ctrl-C


def check_output(path: Path) -> None:
    """Raises `ArgumentError` or OSError if a file cannot be written to `path`, before hours of work, not after."""
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder; expected the name of a file to write")
    target = destination(path)
    if not target.parent.is_dir():
        raise ArgumentError(f"there is no folder {target.parent} to write {target.name} to")


def epilog(*lines: str) -> str:
    """Formats the examples of a command's help."""
    return "[bold]Example[/]\n\n" + "\n\n".join(escape(line) for line in lines)


def integers(value: str, option: str) -> list[int]:
    """Parses a comma-separated list of integers."""
    try:
        return [int(part) for part in value.split(",")] if value else []
    except ValueError:
        raise typer.BadParameter(
            f"{option} is {value!r}; expected integers separated by commas, such as 64,128"
        ) from None
