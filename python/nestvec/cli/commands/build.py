"""`nestvec build`: builds a table of texts."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nestvec.cli.console import message_console, output_console, print_facts, print_json, size
from nestvec.cli.options import (
    Device,
    Engine,
    Format,
    IdField,
    Json,
    Model,
    Source,
    TextField,
    Threads,
    check_output,
    integers,
)
from nestvec.cli.reports import encode_facts, encode_report, table_facts
from nestvec.codecs.names import listed
from nestvec.encoder.progress_bar import EncodeProgress
from nestvec.errors import ArgumentError
from nestvec.io.texts import DOCUMENT_PROMPTS, RecordQueue, TextInput

if TYPE_CHECKING:
    from nestvec.encoder.encoder import Encoder

EXAMPLES = (
    "nestvec build docs.jsonl -m ./all-MiniLM-L6-v2 -o docs.safetensors",
    "zcat docs.gz | nestvec build - -m ./model -o docs.safetensors --dims 64,128",
)


def build(
    source: Source,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table file to write.", show_default=False)],
    codec: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help=f"Codec of the scan, then codecs that rescore: {listed()}.",
        ),
    ] = "binary,int8",
    dims: Annotated[
        str, typer.Option(metavar="INT,...", help="Shorter prefixes, to search later with --dim.", show_default=False)
    ] = "",
    prompt: Annotated[
        str | None,
        typer.Option(help="Default: the model's document, passage or corpus prompt.", show_default=False),
    ] = None,
    no_texts: Annotated[bool, typer.Option("--no-texts", help="Store vectors only.")] = False,
    format: Format = "auto",
    text_field: TextField = "text",
    id_field: IdField = None,
    device: Device = "cpu",
    engine: Engine = "auto",
    threads: Threads = None,
    json_output: Json = False,
) -> None:
    """Encode texts and build a compressed table, streaming."""
    from nestvec.encoder.encoder import Encoder
    from nestvec.encoder.stats import EncodeStats
    from nestvec.table.table import Table

    check_output(output)
    prefixes = integers(dims, "--dims")
    texts = TextInput(source, format, text_field, id_field)
    total = texts.count()
    records = iter(texts)
    first = next(records, None)
    if first is None:
        raise ArgumentError(f"{texts.name} holds no texts; a table needs at least one")
    encoder, stats = Encoder(model, engine=engine, device=device, threads=threads), EncodeStats()
    queue = RecordQueue(chain([first], records))
    with EncodeProgress(message_console(), "building", total, stats):
        table = Table.build(
            encoder.encode_batches(queue.feed(), prompt=_document_prompt(encoder, prompt), stats=stats),
            codec=codec.split(","),
            dims=prefixes,
            ids=None if first.id is None else queue.ids(),
            texts=None if no_texts else queue.texts(),
            encoder=encoder,
            path=output,
        )
    encoded = encode_report(stats)
    with table:
        if json_output:
            print_json(
                {"output": str(output), "blank_lines": texts.blank_lines, "table": table.info(), "encode": encoded}
            )
        else:
            facts = [("written", f"{output}  ({size(output.stat().st_size)})"), *table_facts(table)]
            print_facts(output_console(), facts + encode_facts(encoded, texts.blank_lines))


def _document_prompt(encoder: Encoder, prompt: str | None) -> str | None:
    if prompt is not None:
        return prompt
    return next((name for name in DOCUMENT_PROMPTS if name in encoder.prompts), None)
