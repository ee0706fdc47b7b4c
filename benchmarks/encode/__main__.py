"""Encoding real text: nestvec's batches, those of sentence-transformers, and batches in the order of arrival.

    python -m benchmarks.encode path/to/model

All three encode the docstrings of the standard library with the same ONNX file in onnxruntime, the same threads and the
same pipeline. They differ in which texts share a batch and in when texts are tokenized. Their vectors must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from benchmarks.common import Column, Report, Timing, interleave, parser, progress, verdict
from nestvec import Encoder, EncodeStats
from nestvec.cli.demo.corpus import collect, spread
from nestvec.encoder.engines.onnx import OnnxEngine
from nestvec.model.directory import read_model_dir

NESTVEC = "nestvec"
SORTED_32 = "sentence-transformers: by characters, 32 texts"
ARRIVAL_256 = "in the order of arrival, 256 texts"
TARGETS = {SORTED_32: 1.4, ARRIVAL_256: 4.0}
LARGEST_DIFFERENCE = 1e-5
COLUMNS = [
    Column("policy", "policy"),
    Column("texts/s", "texts_per_second", ".1f"),
    Column("seconds", "seconds", ".2f"),
    Column("+-", "spread", ".0%"),
    Column("CPU s", "cpu_seconds", ".1f"),
    Column("batches", "batches", "d"),
    Column("padding", "padding", ".0%"),
    Column("time", "ratio", ".2f"),
    Column("CPU time", "cpu_ratio", ".2f"),
]


@dataclass
class Policy:
    """A fixed number of texts per batch in a given order; each batch is tokenized and padded just before it runs."""

    encoder: Encoder
    engine: OnnxEngine
    tokenizer: tokenizers.Tokenizer
    texts: Sequence[str]
    order: Sequence[int]
    rows: int
    padded_tokens: int = 0
    batches: int = 0

    def __call__(self) -> npt.NDArray[np.float32]:
        """Encodes all texts; counts the batches, and their tokens with padding."""
        out = np.empty((len(self.texts), self.encoder.dim), np.float32)
        self.padded_tokens = self.batches = 0
        for start in range(0, len(self.order), self.rows):
            batch = list(self.order[start : start + self.rows])
            encodings = self.tokenizer.encode_batch([self.texts[i] for i in batch])
            ids = np.array([encoding.ids for encoding in encodings], np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
            out[batch] = self.encoder.pipeline(self.engine.run(ids, mask), mask, threads=self.encoder.threads)
            self.padded_tokens += ids.size
            self.batches += 1
        return out


def contenders(
    encoder: Encoder, model: str, texts: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, Callable[[], npt.NDArray[Any]]], dict[str, Policy]]:
    """The timed calls by name, and those among them that are policies."""
    source = read_model_dir(Path(model))
    engine = OnnxEngine(source.onnx, device="cpu", threads=encoder.threads, position_offset=source.position_offset)
    tokenizer = tokenizers.Tokenizer.from_file(str(source.tokenizer))
    tokenizer.enable_truncation(encoder.max_length)
    tokenizer.enable_padding()
    by_characters = [int(i) for i in np.argsort([-len(text) for text in texts])]
    policies = {
        SORTED_32: Policy(encoder, engine, tokenizer, texts, by_characters, 32),
        ARRIVAL_256: Policy(encoder, engine, tokenizer, texts, range(len(texts)), 256),
    }
    policies = {name: policy for name, policy in policies.items() if name in names}
    return {NESTVEC: lambda: encoder.encode(texts), **policies}, policies


def compare(policies: Mapping[str, Policy], vectors: npt.NDArray[Any]) -> None:
    """Runs each policy once; exits if its vectors differ from nestvec's."""
    for name, policy in policies.items():
        difference = float(np.abs(policy() - vectors).max())
        if difference > LARGEST_DIFFERENCE:
            raise SystemExit(
                f"{name}: values differ from nestvec's by {difference:g}, more than {LARGEST_DIFFERENCE:g}"
            )


def rows_of(
    timings: Mapping[str, Timing], policies: Mapping[str, Policy], stats: EncodeStats, texts: int
) -> list[dict[str, Any]]:
    """A row for each timed call."""
    first = timings[NESTVEC]
    rows = []
    for name, timing in timings.items():
        counts = policies.get(name, stats)
        rows.append(
            {
                "policy": name,
                "texts_per_second": texts / timing.seconds(),
                "seconds": timing.seconds(),
                "spread": timing.spread(),
                "cpu_seconds": timing.seconds("cpu"),
                "batches": counts.batches,
                "padding": counts.padded_tokens / stats.tokens - 1,
                "ratio": timing.seconds() / first.seconds(),
                "cpu_ratio": timing.seconds("cpu") / first.seconds("cpu"),
                "rounds": timing.wall,
            }
        )
    return rows


def main() -> None:
    """Times all policies in turn and prints one table."""
    options = parser(__doc__)
    options.add_argument("model", help="a sentence-transformers directory with an ONNX file")
    options.add_argument("--texts", type=int, default=2000, help="number of docstrings")
    options.add_argument("--rounds", type=int, default=3, help="rounds, each of which encodes all texts")
    options.add_argument("--threads", type=int, default=None, help="threads of onnxruntime; default: all")
    options.add_argument("--no-arrival", action="store_true", help="leave out the slowest policy")
    args = options.parse_args()

    encoder = Encoder(args.model, engine="onnxruntime", threads=args.threads)
    texts = [document.text for document in spread(collect(), args.texts)]
    names = [SORTED_32] if args.no_arrival else list(TARGETS)
    calls, policies = contenders(encoder, args.model, texts, names)
    report = Report(args, ["onnxruntime", "tokenizers"])

    progress("one round to warm up and to compare the vectors")
    stats = EncodeStats()
    compare(policies, encoder.encode(texts, stats=stats))
    progress(f"{args.rounds} rounds of {len(calls)} policies")
    rows = rows_of(interleave(calls, args.rounds), policies, stats, len(texts))

    title = f"{len(texts):,} docstrings, {stats.tokens:,} tokens, {encoder.threads} threads; median of {args.rounds}"
    report.table(title, COLUMNS, rows)
    parts = {"tokenize": stats.seconds_tokenize, "engine": stats.seconds_engine, "rest": stats.seconds_rest}
    shares = ", ".join(f"{name} {seconds / stats.seconds_total:.1%}" for name, seconds in parts.items())
    report.note(f"nestvec's time: {shares} (tokenizing overlaps the engine)")
    for row in rows[1:]:
        report.note(verdict(f"over {row['policy']}", row["ratio"], TARGETS[row["policy"]], "times", at_least=True))
    report.close()


if __name__ == "__main__":
    main()
