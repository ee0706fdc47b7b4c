"""`nestvec encode`: encodes texts into the rows of a .npy file."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from nestvec.cli.console import message_console, output_console, print_facts, print_json, size
from nestvec.cli.options import (
    Device,
    Engine,
    Format,
    Json,
    Model,
    Prompt,
    Source,
    TextField,
    Threads,
    check_output,
)
from nestvec.cli.reports import encode_facts, encode_report
from nestvec.encoder.progress_bar import EncodeProgress
from nestvec.io.texts import TextInput

EXAMPLES = (
    "nestvec encode docs.jsonl -m ./all-MiniLM-L6-v2 -o docs.npy",
    "head -n 100 notes.txt | nestvec encode - -m ./model -o notes.npy --dim 128",
)


def encode(
    source: Source,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help=".npy file to write.", show_default=False)],
    precision: Annotated[str, typer.Option(help="float32, float16, int8, uint8, binary or ubinary.")] = "float32",
    dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.", show_default=False)] = None,
    prompt: Prompt = None,
    format: Format = "auto",
    text_field: TextField = "text",
    device: Device = "cpu",
    engine: Engine = "auto",
    threads: Threads = None,
    json_output: Json = False,
) -> None:
    """Encode texts into the rows of a .npy file, streaming."""
    from nestvec.encoder.encoder import Encoder
    from nestvec.encoder.stats import EncodeStats
    from nestvec.io.npy import write_npy

    check_output(output)
    texts = TextInput(source, format, text_field, id_field="")
    total = texts.count()
    encoder, stats = Encoder(model, engine=engine, device=device, threads=threads), EncodeStats()
    records = (record.text for record in texts)
    with EncodeProgress(message_console(), "encoding", total, stats):
        batches = encoder.encode_batches(records, prompt=prompt, dim=dim, precision=precision, stats=stats)
        no_rows = encoder.encode(
            [], prompt=prompt, dim=dim, precision=precision
        )  # (0, columns): the file's shape if there are no texts
        rows, dtype = write_npy(output, chain([no_rows], batches))
    if json_output:
        shape = {"rows": rows, "dim": no_rows.shape[1], "dtype": str(dtype), "precision": precision}
        print_json({"output": str(output), **shape, "blank_lines": texts.blank_lines, "encode": encode_report(stats)})
        return
    facts = [("written", f"{output}  ({rows:,} x {no_rows.shape[1]} {dtype}, {size(output.stat().st_size)})")]
    print_facts(output_console(), facts + encode_facts(encode_report(stats), texts.blank_lines))
