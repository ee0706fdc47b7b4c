"""`nestvec info`: shows the contents of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nestvec.cli.console import output_console, print_json
from nestvec.cli.options import Json
from nestvec.cli.reports import print_table_info

EXAMPLES = ("nestvec info docs.safetensors",)


def info(
    table_file: Annotated[Path, typer.Argument(metavar="TABLE", help="Table file.", show_default=False)],
    json_output: Json = False,
) -> None:
    """Show the contents of a table: tiers, sizes, and the encoder that made it."""
    from nestvec.table.table import Table

    with Table.open(table_file) as table:
        if json_output:
            print_json({"table": str(table_file), "file_bytes": table_file.stat().st_size, **table.info()})
        else:
            print_table_info(output_console(), table_file, table)
