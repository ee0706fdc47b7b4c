"""The loss by compression on real text: recall and nDCG of every codec, cascade and prefix; STS-B correlations.

    python -m benchmarks.table.quality --model MODEL_DIR --beir DATASET_DIR --stsb sts-test.csv
    python -m benchmarks.table.quality --model MODEL_DIR --beir DATASET_DIR --kinds model static mean --seeds 3 --write

A BEIR data set is a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv. Recall@10 is the share of the exact ten
best rows by float32 cosine that a search finds; nDCG@10 takes the judgements as gains, as trec_eval does, over the
queries with judgements. Codecs whose fit is random show the mean over seeds. --kinds measures other vectors of the same
texts, made by kinds.py; --write puts the tables into docs/codecs.md and the figures into the README's. STS-B
is a CSV file without a heading: sentence, sentence, score.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nestvec
from benchmarks.common import Column, Report, markdown, parser, progress
from benchmarks.table import kinds
from nestvec import evaluate
from nestvec.codecs.families import FAMILIES
from nestvec.codecs.names import codec_named
from nestvec.io.beir import read_beir

Floats = npt.NDArray[Any]

K = 10
# Each family's examples, then codecs with the other kind of query, then cascades.
TIERS = (
    *(example for family in FAMILIES for example in family.examples),
    "binary?float",  # the float query against the bits
    "planes4?codes",  # the query is compressed as well
    "planes2?codes",
    "binary+int8",
    "binary+float32",
    "rabitq+int8",
    "opq48x8+int8",
)
# For the other kinds of vectors; m: a byte for 8 dimensions.
SHORT_TIERS = ("int8", "int4", "rabitq4", "opq{m}x8", "rabitq", "binary", "binary+int8", "rabitq+int8", "opq{m}x8+int8")
KINDS = {
    "model": "vectors of the model",
    "static": "static vectors, WordLlama, trained as Matryoshka prefixes",
    "mean": "vectors of the model with a common mean added (synthetic)",
}
ROOT = Path(__file__).parents[2]


def encode(
    encoder: nestvec.Encoder, texts: Sequence[str], prompt: str | None, cache: Path | None
) -> npt.NDArray[np.float32]:
    """(texts, dim) float32, cached under a hash of the encoder's fingerprint, the prompt and the texts."""
    key = hashlib.sha256(json.dumps([encoder.fingerprint, prompt, list(texts)], sort_keys=True).encode()).hexdigest()
    path = None if cache is None else cache / f"{key[:32]}.npy"
    if path is not None and path.exists():
        return np.load(path)
    progress(f"encoding {len(texts):,} texts")
    vectors = encoder.encode(texts, prompt=prompt, progress=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    return vectors


def beir(encoder: nestvec.Encoder, args: Any, report: Report) -> None:
    """Codecs on one data set, for each kind of vectors."""
    data = read_beir(args.beir)
    if data.judgements is None:
        raise SystemExit(f"{args.beir} has no qrels/test.tsv; expected judgements, which nDCG is measured against")
    for note in data.notes:
        report.note(note)
    texts = list(data.documents.values()), list(data.queries.values())
    prompts = None, "query" if "query" in encoder.prompts else None
    for kind in args.kinds:
        if kind == "static":
            x, q = map(kinds.static_encoder(args.cache or ROOT / "build" / "bench"), texts)
        else:
            x, q = (encode(encoder, *given, args.cache) for given in zip(texts, prompts, strict=True))
        if kind == "mean":
            x, q = kinds.with_common_mean(x), kinds.with_common_mean(q)
        m = x.shape[1] // 8
        codecs = args.codecs or (TIERS if kind == "model" else [name.format(m=m) for name in SHORT_TIERS])
        rows = measured(x, q, codecs, data.judgements, args)
        best = float(evaluate.ndcg(evaluate.exact_neighbours(q, x, K), data.judgements, K).mean())
        for row in rows:
            row["kept"] = row["ndcg"] / best
        title = f"{KINDS[kind]}: {x.shape[1]} dimensions, mean cosine of two rows {kinds.mean_cosine(x):.2f}; "
        title += f"{args.beir.name}: {len(x):,} texts, {len(q)} queries; exact float32 has nDCG@10 {best:.4f}"
        columns = columns_of(prefixes=bool(args.dims))
        report.table(title, columns, rows)
        if args.write:
            write_table(kind, title, columns, rows)
            write_readme(kind, {row["name"].replace(f"{m}x8", "48x8"): row for row in rows})


def measured(x: Floats, q: Floats, codecs: Sequence[str], judgements: Any, args: Any) -> list[dict[str, Any]]:
    """A row of figures for each codec, with whole vectors and with each prefix."""
    exact = evaluate.exact_neighbours(q, x, K)
    dims = [*sorted({dim for dim in args.dims if dim < x.shape[1]}, reverse=True)]
    rows = []
    for name in codecs:
        tiers, _, query = name.partition("?")
        codecs_of_tiers = tiers.split("+")
        first = codec_named(codecs_of_tiers[0])
        prefixes = [] if first.family.rotates or first.sub_quantizers else dims
        drawn = any(codec.family.rotates or codec.sub_quantizers for codec in map(codec_named, codecs_of_tiers))
        figures: dict[int, list[tuple[float, float]]] = {}
        for seed in range(args.seeds if drawn else 1):
            progress(f"{name}, seed {seed}")
            with nestvec.Table.build(x, codec=codecs_of_tiers, dims=prefixes, seed=seed) as table:
                bytes_per_row = table.bytes_per_row
                for dim in [x.shape[1], *prefixes]:
                    found = table.search(q, K, dim=dim, oversample=args.oversample, query=query or None).ids
                    recall = float(evaluate.recall(found, exact, K).mean())
                    gain = float(evaluate.ndcg(found, judgements, K).mean())
                    figures.setdefault(dim, []).append((recall, gain))
        for dim, found_by_seed in figures.items():
            recall, gain = np.mean(found_by_seed, axis=0)
            rows.append(
                {
                    "name": name,
                    "codec": codecs_of_tiers[0] + (f", {query} query" if query else ""),
                    "rescore": ", ".join(codecs_of_tiers[1:]),
                    "dim": dim,
                    "scanned": first.row_bytes(dim),
                    "bytes": bytes_per_row,
                    "recall": float(recall),
                    "spread": "" if not drawn else f"{min(found_by_seed)[0]:.3f} to {max(found_by_seed)[0]:.3f}",
                    "ndcg": float(gain),
                }
            )
    return rows


def columns_of(prefixes: bool) -> list[Column]:
    return [
        Column("codec", "codec"),
        Column("rescored with", "rescore"),
        *([Column("dimensions scanned", "dim", "d")] if prefixes else []),
        Column("bytes scanned per row", "scanned", ".0f"),
        Column("bytes per row", "bytes", ".0f"),
        Column("recall@10", "recall", ".3f"),
        Column("by seed", "spread"),
        Column("nDCG@10", "ndcg", ".4f"),
        Column("of exact", "kept", ".1%"),
    ]


def write_table(kind: str, title: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> None:
    """Replaces the table of a kind of vectors in docs/codecs.md."""
    page = ROOT / "docs" / "codecs.md"
    begins, ends = f"<!-- {kind} begins -->", f"<!-- {kind} ends -->"
    text = f"{title[0].upper()}{title[1:]}.\n\n{markdown(columns, rows)}"
    before, _, rest = page.read_text().partition(begins)
    after = rest.partition(ends)[2]
    page.write_text(f"{before}{begins}\n{text}\n{ends}{after}")


def write_readme(kind: str, figures: dict[str, dict[str, Any]]) -> None:
    """Replaces a kind's column of recall in the README's table of codecs; for the model's vectors also the figures."""
    page = ROOT / "README.md"
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        cells = line.strip("| ").split(" | ")  # codec, take it for, 2 of bytes, recall of each kind, nDCG
        row = figures.get("+".join(re.findall(r"`(\w+)`", cells[0])))
        if line.startswith("| `") and row is not None:
            cells[4 + list(KINDS).index(kind)] = f"{row['recall']:.3f}"
            if kind == "model":
                cells[2:4] = f"{row['scanned']:,.0f}", f"{row['bytes']:,.0f}"
                cells[7] = f"{row['ndcg']:.4f}"
            lines[number] = f"| {' | '.join(cells)} |"
    page.write_text("\n".join(lines) + "\n")


def average_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their average rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def spearman(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(average_ranks(a), average_ranks(b))[0, 1])


def stsb(encoder: nestvec.Encoder, args: Any, report: Report) -> None:
    """Rank correlation of the judges' scores with cosines, and with the number of equal bits."""
    with args.stsb.open(encoding="utf-8", newline="") as lines:
        left, right, judged = zip(*csv.reader(lines), strict=True)
    a, b = (encode(encoder, sentences, None, args.cache) for sentences in (left, right))
    scores = np.array(judged, np.float64)
    rows = []
    for dim in [a.shape[1], *sorted({dim for dim in args.dims if dim < a.shape[1]}, reverse=True)]:
        first, second = nestvec.truncate(a, dim), nestvec.truncate(b, dim)
        for precision in ("float32", "int8", "ubinary"):
            left_codes, right_codes = nestvec.quantize(first, precision), nestvec.quantize(second, precision)
            if precision == "ubinary":
                similarity = -np.bitwise_count(left_codes ^ right_codes).sum(axis=1, dtype=np.float64)
            else:
                u, v = left_codes.astype(np.float64), right_codes.astype(np.float64)
                similarity = np.sum(u * v, axis=1) / np.sqrt(np.sum(u**2, axis=1) * np.sum(v**2, axis=1))
            rows.append({"precision": precision, "dim": dim, "spearman": 100 * spearman(similarity, scores)})
    columns = [
        Column("precision", "precision"),
        Column("dimensions", "dim", "d"),
        Column("Spearman x 100", "spearman", ".2f"),
    ]
    report.table(f"{args.stsb.name}: {len(scores):,} pairs", columns, rows)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", required=True, help="model folder or name, for nestvec.Encoder")
    options.add_argument("--beir", type=Path, metavar="DIR", help="data set for recall and nDCG")
    options.add_argument("--stsb", type=Path, metavar="FILE", help="CSV file of sentence pairs with scores")
    options.add_argument(
        "--dims", type=int, nargs="+", default=[], help="prefixes to scan, in addition to whole vectors"
    )
    options.add_argument(
        "--codecs", nargs="+", metavar="NAME", help="tiers, the scanned one first, such as binary+int8"
    )
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=["model"], help="kinds of vectors of --beir")
    options.add_argument("--write", action="store_true", help="write the tables into docs/codecs.md and README.md")
    options.add_argument("--oversample", type=int, default=4, help="candidates that are rescored, over k")
    options.add_argument("--seeds", type=int, default=4, help="seeds for codecs whose fit is random; the mean is shown")
    options.add_argument("--cache", type=Path, metavar="DIR", help="folder that keeps the vectors for the next run")
    args = options.parse_args()
    if args.beir is None and args.stsb is None:
        options.error("nothing to measure: give --beir, --stsb or both")
    report = Report(args, ["numpy", "onnxruntime"])
    encoder = nestvec.Encoder(args.model)
    report.note(f"Model: {Path(args.model).name}, {encoder.dim} dimensions, {encoder.max_length} tokens at most")
    if args.stsb is not None:
        stsb(encoder, args, report)
    if args.beir is not None:
        beir(encoder, args, report)
    report.close()


if __name__ == "__main__":
    main()
