"""The effect of linear stages on recall and nDCG on real text, before float32 and before compressed codes.

    python -m benchmarks.table.stages --model MODEL_DIR --beir DATASET_DIR

Recall@10 is the share of the ten best rows by exact float32 cosine of the model's vectors that a search finds.
quality.py describes data sets and both measures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nestvec
from benchmarks.common import Column, Report, parser
from benchmarks.table.quality import K, encode
from nestvec import evaluate
from nestvec.io.beir import read_beir
from nestvec.stages import PCA, Center, Clip, RandomRotation, RemoveDirections, ZeroOutliers

STAGES: tuple[tuple[str, list[Any]], ...] = (
    ("none", []),
    ("Center()", [Center()]),
    ("RandomRotation()", [RandomRotation()]),
    ("Center(), RandomRotation()", [Center(), RandomRotation()]),
    ("Clip()", [Clip()]),
    ("ZeroOutliers()", [ZeroOutliers()]),
    ("RemoveDirections(count=3)", [RemoveDirections(count=3)]),
    ("PCA(256, center=False)", [PCA(256, center=False)]),
    ("PCA(256)", [PCA(256)]),
    ("PCA(128, center=False)", [PCA(128, center=False)]),
    ("PCA(128)", [PCA(128)]),
    ("PCA(128, whiten=True)", [PCA(128, whiten=True)]),
)
CODECS = ("float32", "int8", "binary")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", required=True, help="model folder or name, for nestvec.Encoder")
    options.add_argument("--beir", type=Path, required=True, metavar="DIR", help="data set")
    options.add_argument("--cache", type=Path, metavar="DIR", help="folder that keeps the vectors for the next run")
    args = options.parse_args()
    report = Report(args, ["numpy", "onnxruntime"])
    encoder = nestvec.Encoder(args.model)
    data = read_beir(args.beir)
    if data.judgements is None:
        raise SystemExit(f"{args.beir} has no qrels/test.tsv; expected judgements, which nDCG is measured against")
    x = encode(encoder, list(data.documents.values()), None, args.cache)
    q = encode(encoder, list(data.queries.values()), "query" if "query" in encoder.prompts else None, args.cache)
    exact = evaluate.exact_neighbours(q, x, K)
    rows = []
    for name, stages in STAGES:
        row: dict[str, Any] = {"stages": name}
        for codec in CODECS:
            with nestvec.Table.build(x, codec=codec, stages=stages) as table:
                found = table.search(q, K).ids
                row["dim"] = table.dim
            row[codec] = float(evaluate.recall(found, exact, K).mean())
            row[f"{codec}_ndcg"] = float(evaluate.ndcg(found, data.judgements, K).mean())
        rows.append(row)
    columns = [Column("stages", "stages"), Column("dimensions", "dim", "d")]
    columns += [Column(f"{codec}: recall@10", codec, ".3f") for codec in CODECS]
    columns += [Column(f"{codec}: nDCG@10", f"{codec}_ndcg", ".4f") for codec in CODECS]
    report.table(f"{args.beir.name}: {len(x):,} texts, {len(q)} queries, {x.shape[1]} dimensions", columns, rows)
    report.close()


if __name__ == "__main__":
    main()
