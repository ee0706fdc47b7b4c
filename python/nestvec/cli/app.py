"""The `nestvec` command. Each of its commands has a file in `commands/`."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from nestvec.cli.commands import build, demo, doctor, encode, export, info, search, tune
from nestvec.cli.console import message_console, one_line
from nestvec.cli.options import epilog
from nestvec.errors import NestvecError


class Commands(TyperGroup):
    """Prints errors that a user can mend as one line, with exit code 1; NESTVEC_DEBUG=1 shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader closed the pipe: typer exits quietly
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


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from nestvec._core import __version__

        typer.echo(f"nestvec {__version__}")
        raise typer.Exit


# In the order of the help. Each module defines the function of its name and EXAMPLES.
app.command(epilog=epilog(*demo.EXAMPLES))(demo.demo)
app.command(epilog=epilog(*export.EXAMPLES))(export.export)
app.command(epilog=epilog(*encode.EXAMPLES))(encode.encode)
app.command(epilog=epilog(*build.EXAMPLES))(build.build)
app.command(epilog=epilog(*search.EXAMPLES))(search.search)
app.command(epilog=epilog(*tune.EXAMPLES))(tune.tune)
app.command(epilog=epilog(*info.EXAMPLES))(info.info)
app.command(epilog=epilog(*doctor.EXAMPLES))(doctor.doctor)
