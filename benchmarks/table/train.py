"""Training product quantizers and encoding with them, compared with faiss: time and distortion.

Vectors of length 1 that vary mostly along 64 directions. Both train on the same vectors, with the same number of
k-means iterations; rotations are trained with each library's defaults. Distortion is the mean squared distance between
rows and their decoded codes. Ratios are faiss's time over nestvec's, and nestvec's distortion over faiss's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import threadpoolctl

import nestvec
from benchmarks.common import Column, Report, interleave, parser, progress, verdict
from nestvec.codecs.fitted import Codes, FittedCodec, fit
from nestvec.codecs.names import codec_named
from nestvec.codecs.pq import ITERATIONS

Floats = npt.NDArray[np.float32]

MOST_ROWS = 1 << 16  # of a training sample: 256 for each of 256 centroids


@dataclass(frozen=True)
class Question:
    """The codec that is trained, its rows and its targets."""

    codec: str
    rows: int
    dim: int
    rounds: int
    train_target: float = 0  # minimum of faiss's time over nestvec's; 0: no target
    encode_target: float = 0


QUESTIONS = {
    "pq96x8": Question("pq96x8", 100_000, 768, 3, 1, 1.5),
    "pq192x4": Question("pq192x4", 100_000, 768, 3),
    "opq96x8": Question("opq96x8", 20_000, 384, 2),
}


def vectors(rows: int, dim: int) -> Floats:
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, 64), np.float32) @ random.standard_normal((64, dim), np.float32)
    x += random.standard_normal((rows, dim), np.float32) / 2
    return nestvec.normalize(x)


def train_faiss(question: Question, sample: Floats) -> Any:
    """A trained index."""
    codec = codec_named(question.codec)
    index = faiss.IndexPQ(question.dim, codec.sub_quantizers, codec.bits)
    index.pq.cp.niter = ITERATIONS
    if codec.family.rotates:
        rotation = faiss.OPQMatrix(question.dim, codec.sub_quantizers)
        index = faiss.IndexPreTransform(rotation, index)
    index.train(sample)
    return index


def distortion(x: Floats, decoded: Floats) -> float:
    return float(np.mean(np.sum((x - decoded).astype(np.float64) ** 2, axis=1)))


def measure(question: Question, rounds: int) -> dict[str, Any]:
    x = vectors(question.rows, question.dim)
    sample = x[np.arange(min(MOST_ROWS, len(x))) * len(x) // min(MOST_ROWS, len(x))]
    trained: dict[str, Any] = {}

    def train_ours() -> None:
        trained["nestvec"] = fit(question.codec, sample, metric="ip")

    def train_theirs() -> None:
        trained["faiss"] = train_faiss(question, sample)

    progress(f"{question.codec}: training on {len(sample):,} x {question.dim}")
    times = interleave({"nestvec": train_ours, "faiss": train_theirs}, rounds)
    ours: FittedCodec = trained["nestvec"]
    theirs = trained["faiss"]
    codes: dict[str, Any] = {}

    def encode_ours() -> None:
        codes["nestvec"] = ours.encode(x)

    def encode_theirs() -> None:
        codes["faiss"] = theirs.sa_encode(x)

    progress(f"{question.codec}: encoding {question.rows:,} x {question.dim}")
    encode_ours()
    encode_theirs()
    encoding = interleave({"nestvec": encode_ours, "faiss": encode_theirs}, 5)
    our_codes: Codes = codes["nestvec"]
    errors = distortion(x, ours.decode(our_codes)), distortion(x, theirs.sa_decode(codes["faiss"]))
    return {
        "codec": question.codec,
        "rows": len(sample),
        "dim": question.dim,
        "train": times["nestvec"].seconds(),
        "train_faiss": times["faiss"].seconds(),
        "train_ratio": times["faiss"].seconds() / times["nestvec"].seconds(),
        "cores": times["nestvec"].cores,
        "cores_faiss": times["faiss"].cores,
        "distortion": errors[0],
        "distortion_ratio": errors[0] / errors[1],
        "encode": question.rows / encoding["nestvec"].seconds(),
        "encode_ratio": encoding["faiss"].seconds() / encoding["nestvec"].seconds(),
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS), help="codecs to train")
    options.add_argument("--rounds", type=int, help="trainings of each codec; default: 2 or 3")
    args = options.parse_args()
    threads = nestvec.capabilities()["threads"]
    faiss.omp_set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    report = Report(args, ["numpy", "faiss-cpu"])
    rows, verdicts = [], []
    for name in args.only:
        question = QUESTIONS[name]
        found = measure(question, args.rounds or question.rounds)
        rows.append(found)
        if question.train_target:
            verdicts += [
                verdict(
                    f"{name}, training speed over faiss's", found["train_ratio"], question.train_target, "times", True
                ),
                verdict(f"{name}, distortion over faiss's", found["distortion_ratio"], 1, "times"),
                verdict(
                    f"{name}, encoding speed over faiss's", found["encode_ratio"], question.encode_target, "times", True
                ),
            ]
    columns = [
        Column("codec", "codec"),
        Column("rows", "rows", ",d"),
        Column("dimensions", "dim", "d"),
        Column("training, s", "train", ".2f"),
        Column("faiss, s", "train_faiss", ".2f"),
        Column("times as fast", "train_ratio", ".2f"),
        Column("cores", "cores", ".1f"),
        Column("cores of faiss", "cores_faiss", ".1f"),
        Column("distortion", "distortion", ".4f"),
        Column("of faiss's", "distortion_ratio", ".4f"),
        Column("rows encoded per s", "encode", ",.0f"),
        Column("times faiss", "encode_ratio", ".2f"),
    ]
    report.table(f"Training and encoding, {threads} threads", columns, rows)
    for line in verdicts:
        report.note(line)
    report.close()


if __name__ == "__main__":
    main()
