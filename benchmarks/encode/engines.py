"""The engines of an encoder beside each other: nestvec's own kernels and onnxruntime, on the same texts and batches.

    python -m benchmarks.encode.engines path/to/model

The model is a directory with safetensors and an ONNX file that `nestvec export` made of them. Both engines get
nestvec's batches and pipeline. A speed is the ratio of CPU times in one interleaved run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import Column, Report, interleave, parser, progress, verdict
from nestvec import Encoder
from nestvec.cli.demo.corpus import collect, spread

ENGINES = ("native", "onnxruntime")
QUESTION = "how do I parse a date from a string"
# Texts by name, and the least ratio of onnxruntime's time to the native engine's.
TARGETS = {"docstrings": 1.0, "512 tokens": 1.25, "one question": 1.0}
LARGEST_DIFFERENCE = 1e-5
COLUMNS = [
    Column("texts", "texts"),
    Column("engine", "engine"),
    Column("tokens/s", "tokens_per_second", ",.0f"),
    Column("ms", "milliseconds", ",.2f"),
    Column("+-", "spread", ".0%"),
    Column("CPU time / native's", "cpu_ratio", ".2f"),
]


def workloads(texts: int) -> dict[str, tuple[list[str], int]]:
    """The texts of each workload, and the calls that make a round."""
    docstrings = [document.text for document in spread(collect(), texts)]
    words = " ".join(docstrings).split()
    long = [" ".join(words[i * 600 : (i + 1) * 600]) for i in range(min(8, len(words) // 600))]
    return {"docstrings": (docstrings, 1), "512 tokens": (long, 1), "one question": ([QUESTION], 20)}


def encode(encoder: Encoder, texts: list[str], repeats: int) -> None:
    """Encodes the texts several times."""
    for _ in range(repeats):
        encoder.encode(texts)


def main() -> None:
    """Times both engines in turn on each workload and prints one table."""
    options = parser(__doc__)
    options.add_argument("model", help="a sentence-transformers directory with safetensors and an ONNX file")
    options.add_argument("--texts", type=int, default=200, help="number of docstrings")
    options.add_argument("--rounds", type=int, default=7, help="rounds of each workload")
    options.add_argument("--threads", type=int, default=1, help="threads of each engine")
    args = options.parse_args()
    encoders = {name: Encoder(args.model, engine=name, threads=args.threads, max_length=512) for name in ENGINES}
    report = Report(args, ["onnxruntime", "tokenizers"])
    rows: list[dict[str, Any]] = []
    for name, (texts, repeats) in workloads(args.texts).items():
        progress(f"{name}: {args.rounds} rounds")
        vectors = [encoder.encode(texts) for encoder in encoders.values()]
        if (difference := float(np.abs(vectors[0] - vectors[1]).max())) > LARGEST_DIFFERENCE:
            raise SystemExit(f"{name}: values differ by {difference:g}, more than {LARGEST_DIFFERENCE:g}")
        calls: dict[str, Callable[[], Any]] = {
            engine: partial(encode, encoder, texts, repeats) for engine, encoder in encoders.items()
        }
        timings = interleave(calls, args.rounds)
        tokens = int(encoders["native"].count_tokens(texts).clip(max=512).sum())
        for engine, timing in timings.items():
            rows.append(
                {
                    "texts": f"{name}: {len(texts):,}, {tokens:,} tokens",
                    "engine": engine,
                    "tokens_per_second": tokens * repeats / timing.seconds(),
                    "milliseconds": timing.seconds() / repeats * 1e3,
                    "spread": timing.spread(),
                    "cpu_ratio": timing.seconds("cpu") / timings["native"].seconds("cpu"),
                    "rounds": timing.wall,
                }
            )
    report.table(f"{args.threads} threads; medians of {args.rounds}", COLUMNS, rows)
    for row, (name, target) in zip(rows[1::2], TARGETS.items(), strict=True):
        report.note(verdict(f"native over onnxruntime, {name}", row["cpu_ratio"], target, "times", at_least=True))
    report.close()


if __name__ == "__main__":
    main()
