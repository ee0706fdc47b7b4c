"""Encoding real text: nestvec's batches against those of sentence-transformers and against batches as texts come.

All three run the same ONNX file in onnxruntime with the same threads, on the docstrings of the standard library, and
the same pipeline turns hidden states into vectors; what differs is which texts run together, and when they are
tokenized. The vectors are compared, and must be the same.

    python benchmarks/encode.py path/to/model
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import numpy.typing as npt
import tokenizers
from common import Column

from nestvec import Encoder, EncodeStats
from nestvec.demo.corpus import collect, spread
from nestvec.encoder.engines.onnx import OnnxModel
from nestvec.model.directory import read_model_dir

NESTVEC = "nestvec"
SORTED_32 = "sentence-transformers: by characters, 32 texts"
ARRIVAL_256 = "as they come, 256 texts"
TARGETS = {SORTED_32: 1.4, ARRIVAL_256: 4.0}
LARGEST_DIFFERENCE = 1e-5


@dataclass
class Policy:
    """A fixed number of texts per batch, in some order, each batch tokenized and padded when its turn comes."""

    encoder: Encoder
    onnx: OnnxModel
    tokenizer: tokenizers.Tokenizer
    texts: Sequence[str]
    order: Sequence[int]
    rows: int
    padded_tokens: int = 0
    batches: int = 0

    def __call__(self) -> npt.NDArray[np.float32]:
        """All texts once; sets the number of batches, and of their tokens with padding."""
        out = np.empty((len(self.texts), self.encoder.dim), np.float32)
        self.padded_tokens = self.batches = 0
        for start in range(0, len(self.order), self.rows):
            batch = list(self.order[start : start + self.rows])
            encodings = self.tokenizer.encode_batch([self.texts[i] for i in batch])
            ids = np.array([encoding.ids for encoding in encodings], np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
            out[batch] = self.encoder.pipeline(self.onnx.run(ids, mask), mask, threads=self.encoder.threads)
            self.padded_tokens += ids.size
            self.batches += 1
        return out


def contenders(
    encoder: Encoder, model: str, texts: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, Callable[[], npt.NDArray[Any]]], dict[str, Policy]]:
    """The calls to time, and the policies among them, which know their numbers of batches."""
    source = read_model_dir(Path(model))
    onnx = OnnxModel(source.onnx, device="cpu", threads=encoder.threads, position_offset=source.position_offset)
    tokenizer = tokenizers.Tokenizer.from_file(str(source.tokenizer))
    tokenizer.enable_truncation(encoder.max_length)
    tokenizer.enable_padding()
    by_characters = [int(i) for i in np.argsort([-len(text) for text in texts])]
    policies = {
        SORTED_32: Policy(encoder, onnx, tokenizer, texts, by_characters, 32),
        ARRIVAL_256: Policy(encoder, onnx, tokenizer, texts, range(len(texts)), 256),
    }
    policies = {name: policy for name, policy in policies.items() if name in names}
    return {NESTVEC: lambda: encoder.encode(texts), **policies}, policies


def main() -> None:
    """Times the policies in turn and prints one table."""
    options = common.parser(__doc__)
    options.add_argument("model", help="a sentence-transformers directory with an ONNX file")
    options.add_argument("--texts", type=int, default=2000, help="how many docstrings")
    options.add_argument("--rounds", type=int, default=3, help="how often each policy encodes them all")
    options.add_argument("--threads", type=int, default=None, help="for onnxruntime; all there are by default")
    options.add_argument("--no-arrival", action="store_true", help="leave out the slowest policy")
    args = options.parse_args()

    encoder = Encoder(args.model, threads=args.threads)
    texts = [document.text for document in spread(collect(), args.texts)]
    names = [SORTED_32] if args.no_arrival else list(TARGETS)
    calls, policies = contenders(encoder, args.model, texts, names)
    report = common.Report(args, ["onnxruntime", "tokenizers"])

    common.progress("one round to warm up and to compare the vectors")
    stats = EncodeStats()
    vectors = encoder.encode(texts, stats=stats)
    for name, policy in policies.items():
        difference = float(np.abs(policy() - vectors).max())
        if difference > LARGEST_DIFFERENCE:
            raise SystemExit(
                f"{name}: values differ from nestvec's by {difference:g}, more than {LARGEST_DIFFERENCE:g}"
            )
    common.progress(f"{args.rounds} rounds of {len(calls)} policies")
    timings = common.interleave(calls, args.rounds)

    rows: list[dict[str, Any]] = []
    for name, timing in timings.items():
        counts = policies.get(name, stats)
        rows.append(
            {
                "policy": name,
                "texts_per_second": len(texts) / timing.seconds(),
                "seconds": timing.seconds(),
                "spread": timing.spread(),
                "cpu_seconds": timing.seconds("cpu"),
                "batches": counts.batches,
                "padding": counts.padded_tokens / stats.tokens - 1,
                "ratio": timing.seconds() / timings[NESTVEC].seconds(),
                "cpu_ratio": timing.seconds("cpu") / timings[NESTVEC].seconds("cpu"),
                "rounds": timing.wall,
            }
        )
    columns = [
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
    title = f"{len(texts):,} docstrings, {stats.tokens:,} tokens, {encoder.threads} threads; median of {args.rounds}"
    report.table(title, columns, rows)
    parts = {"tokenize": stats.seconds_tokenize, "ONNX": stats.seconds_onnx, "rest": stats.seconds_rest}
    shares = ", ".join(f"{name} {seconds / stats.seconds_total:.1%}" for name, seconds in parts.items())
    report.note(f"nestvec's time: {shares} (tokenizing overlaps ONNX)")
    for row in rows[1:]:
        report.note(
            common.verdict(f"over {row['policy']}", row["ratio"], TARGETS[row["policy"]], "times", at_least=True)
        )
    report.close()


if __name__ == "__main__":
    main()
