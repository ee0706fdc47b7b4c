"""`nestvec export`: converts a safetensors checkpoint to an ONNX file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nestvec.cli.console import duration, message_console, output_console, print_facts, print_json, size
from nestvec.cli.options import Json

EXAMPLES = ("nestvec export ./all-MiniLM-L6-v2",)


def export(
    model_dir: Annotated[Path, typer.Argument(help="Safetensors model directory, BERT family.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL_DIR/onnx/model.onnx.", show_default=False)
    ] = None,
    json_output: Json = False,
) -> None:
    """Convert a safetensors model directory to ONNX, without PyTorch."""
    from nestvec.export.export import export_onnx

    start = time.perf_counter()
    console = message_console()
    with console.status(f"exporting {escape(str(model_dir))}"):
        path = export_onnx(model_dir, output)
    seconds, size_bytes = time.perf_counter() - start, path.stat().st_size
    if json_output:
        print_json({"output": str(path), "bytes": size_bytes, "seconds": seconds})
    else:
        print_facts(output_console(), [("written", f"{path}  ({size(size_bytes)})"), ("time", duration(seconds))])
