"""Bytes and operations of each CUDA kernel, and the least time that follows on an H100, for docs/performance/cuda.md.

A floor is the larger of two: the bytes that must come from memory, over its bandwidth; and the operations of each kind,
over what all multiprocessors do of that kind in a second. It leaves out all else that takes time: starting a kernel,
latency that too few warps cannot hide, conflicts, tails. A kernel above its floor has a reason; one below it is
measured or counted wrongly. Operations are counted in the kernels' source, per row (for all queries of a tile) and per
row and query, and agree with the inner loops that nvcc 13.0 makes of them for sm_90; additions of three integers count
as one, as IADD3 does them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# NVIDIA H100 SXM5: the data sheet's 3.35 TB/s are 3.0 as copies reach them; 132 multiprocessors; 1.98 GHz at most by
# the architecture white paper, 1.7 kept up under load.
BYTES_PER_SECOND = 3.0e12
MULTIPROCESSORS = 132
HERTZ = 1.7e9

# Results of one multiprocessor in one clock, compute capability 9.0: "Throughput of Native Arithmetic Instructions" in
# NVIDIA's CUDA C++ Best Practices Guide (in the Programming Guide before CUDA 13). That table has no DP4A and no byte
# permutation: they are taken to be as fast as integer multiply-add and logic. LD/ST: 32 units, by the white paper, 4
# bytes each: a warp's access takes one clock if its lanes read one word of each bank, or all of them the same.
# CVT64, to and from double, is that of compute capability 8.0. MMA: products of matrix instructions; of int8 by the
# white paper's 1,979 TOPS, which wgmma reaches and mma.sync may not; of bits the A100's, as none is given for the H100.
RATES = {
    "POPC": 16,
    "DP4A": 64,
    "INT": 64,
    "FP32": 128,
    "FP64": 64,
    "CVT": 64,
    "CVT64": 16,
    "LD/ST": 32,
    "MMA int8": 4096,
    "MMA bit": 16384,
}

BEGIN, END = "<!-- benchmarks/gpu_floors.py begins -->", "<!-- benchmarks/gpu_floors.py ends -->"

Counts = Mapping[str, float]


def seconds_of(counts: Counts, multiprocessors: int = MULTIPROCESSORS, hertz: float = HERTZ) -> tuple[float, str]:
    """The least time for so many operations of each kind, all kinds at once; and the kind that takes it."""
    times = {kind: count / RATES[kind] / multiprocessors / hertz for kind, count in counts.items()}
    slowest = max(times, key=lambda kind: times[kind], default="")
    return times.get(slowest, 0.0), slowest


def floor(nbytes: float, counts: Counts) -> tuple[float, str]:
    """Seconds, and what takes them."""
    computed, kind = seconds_of(counts)
    moved = nbytes / BYTES_PER_SECOND
    return (moved, "memory") if moved >= computed else (computed, kind)


@dataclass(frozen=True)
class Scan:
    """A scan kernel on rows of one shape. Operations: of a row for all queries of a tile, and of a row and query."""

    kernel: str
    codes: str
    row_bytes: int
    tile: int
    of_query: Counts
    of_row: Counts = field(default_factory=dict)

    def counts(self, rows: int, queries: int) -> dict[str, float]:
        """Operations of a scan."""
        tiles = -(-queries // self.tile) if queries > 1 else 1
        kinds = dict.fromkeys([*self.of_row, *self.of_query])
        return {
            kind: rows * (tiles * self.of_row.get(kind, 0) + queries * self.of_query.get(kind, 0)) for kind in kinds
        }

    def floor(self, rows: int, queries: int) -> tuple[float, str]:
        """Seconds, with every row read from memory once."""
        return floor(rows * self.row_bytes, self.counts(rows, queries))


CHOICE = 2  # integer operations of every score: it is compared with the query's limit, and marked


def query_loads(words: float) -> float:
    """Of each word, a warp loads the query's once for its 64 rows: half a lane's access for each."""
    return words / 2


def hamming(bits: int) -> Scan:
    words = -(-bits // 64)
    return Scan(
        "scan_hamming",
        f"binary, {bits} bits",
        8 * words,
        8,
        {"POPC": 2 * words, "INT": 3 * words + CHOICE, "LD/ST": query_loads(words)},
        {"LD/ST": 2 * words},
    )


def dot_i8(dim: int) -> Scan:
    words = -(-dim // 4)
    each = {"DP4A": words, "LD/ST": query_loads(words), "FP32": 1, "CVT": 1, "INT": CHOICE}
    return Scan("scan_dot_i8", f"int8, {dim}", 4 * words + 4, 8, each, {"LD/ST": words + 1})


def dot_i4(dim: int) -> Scan:
    words = -(-dim // 8)
    each = {"DP4A": 2 * words, "INT": words + CHOICE, "LD/ST": query_loads(2 * words), "FP32": 1, "CVT": 1}
    return Scan("scan_dot_i4", f"int4, {dim}", 4 * words + 4, 8, each, {"INT": 14 * words, "LD/ST": words + 1})


def dot_f32(dim: int) -> Scan:
    each = {"FP32": dim, "INT": CHOICE, "LD/ST": query_loads(dim)}
    return Scan("scan_dot_f32", f"float32, {dim}", 4 * dim, 8, each, {"LD/ST": dim})


def dot_halves(kernel: str, codes: str, dim: int, widening: str) -> Scan:
    each = {"FP32": dim, "INT": CHOICE, "LD/ST": query_loads(dim / 2)}
    return Scan(kernel, f"{codes}, {dim}", 2 * dim, 8, each, {widening: dim, "LD/ST": dim / 2})


def lut8(columns: int) -> Scan:
    # Two turns of a look-up: 32 random bytes of 64 words leave no bank of 32 with one word wanted only.
    each = {"LD/ST": 2 * columns, "INT": 1.5 * columns + CHOICE}
    return Scan("scan_lut8", f"pq{columns}x8", columns, 4, each, {"INT": columns, "LD/ST": columns / 4})


def lut4(kernel: str, codes: str, nbytes: int) -> Scan:
    each = {"LD/ST": 2 * nbytes, "INT": 3 * nbytes + CHOICE}
    return Scan(kernel, codes, nbytes, 4, each, {"INT": 3 * nbytes, "LD/ST": nbytes / 4})


def matrix(kernel: str, plain: Scan, steps: int, kind: str, of_score: Counts, of_row: Counts | None = None) -> Scan:
    """A warp multiplies 64 rows with a tile of 32 queries, 32 bytes of each operand in a step.

    of_row: what makes these bytes of codes, beside loading them.
    """
    products = 32 * steps if kind == "MMA int8" else 256 * steps * 5 / 4  # a quarter more counts the bits of the rows
    each = {kind: products, "LD/ST": steps / 8, **of_score}
    return Scan(kernel, plain.codes, plain.row_bytes, 32, each, {"LD/ST": plain.row_bytes / 4, **(of_row or {})})


HAMMING_384, HAMMING_1024, INT8, INT4 = hamming(384), hamming(1024), dot_i8(384), dot_i4(384)
SCALED = {"FP32": 1, "CVT": 1, "INT": CHOICE}  # with a factor of the row
BITS = {"INT": CHOICE + 2}  # popc(row) + popc(query) - 2 popc(row & query)

SCANS = {
    "hamming384": HAMMING_384,
    "hamming384, matrix": matrix("scan_hamming_matrix", HAMMING_384, 2, "MMA bit", BITS),
    "hamming1024": HAMMING_1024,
    "hamming1024, matrix": matrix("scan_hamming_matrix", HAMMING_1024, 4, "MMA bit", BITS),
    "int8": INT8,
    "int8, matrix": matrix("scan_dot_i8_matrix", INT8, 12, "MMA int8", SCALED),
    "int4": INT4,
    "int4, matrix": matrix("scan_dot_i4_matrix", INT4, 12, "MMA int8", SCALED, {"INT": 14 * 48}),
    "float16": dot_halves("scan_dot_f16", "float16", 384, "CVT"),
    "bfloat16": dot_halves("scan_dot_bf16", "bfloat16", 384, "INT"),
    "float32": dot_f32(384),
    "pq": lut8(96),
    "pq4": lut4("scan_lut4", "pq192x4", 96),
    "bits-float": lut4("scan_lut4_bits", "binary, 384 bits, float queries", 48),
}


@dataclass(frozen=True)
class Other:
    """A kernel that is no scan, on an example."""

    kernel: str
    example: str
    nbytes: float
    counts: Counts
    words: str

    def floor(self) -> tuple[float, str]:
        """Seconds."""
        return floor(self.nbytes, self.counts)


def exact_score(dim: int, decode: Counts) -> dict[str, float]:
    """Of one row: every product and every sum in double, row and query widened to it."""
    return {"FP64": 2 * dim, "CVT64": 2 * dim, **decode}


def others() -> list[Other]:
    """Those of one search or batch, with sizes of a service."""
    texts, tokens, dim = 256, 128, 384
    hidden = texts * tokens * dim
    rows, candidates, queries = 10_000_000, 100, 1000
    sample = rows // 256
    scored = queries * candidates
    exact = exact_score(dim, {"CVT": dim})
    pooled = {"FP32": hidden, "CVT": hidden, "FP64": 2 * texts * dim, "CVT64": texts * dim}
    normal = {"FP64": 3 * texts * dim, "CVT64": 3 * texts * dim}
    return [
        Other(
            "scan_sample",
            f"{sample:,} of {rows:,} rows of 384 bits, 1 query",
            sample * (48 + 4),
            {kind: sample * count for kind, count in HAMMING_384.of_query.items()},
            "one row in 256 (4,096 to 65,536) scored as the scan does it; 4 bytes written for each",
        ),
        Other(
            "seed_limits",
            f"{queries:,} queries of {rows:,} rows",
            queries * sample * 4,
            {"LD/ST": queries * sample * 6, "INT": queries * sample * 8},
            "a sample read once from memory, five times more from the cache: one block of threads for a query",
        ),
        Other(
            "merge_topk",
            f"{queries:,} queries, k 10, 3 splits",
            queries * 3 * 10 * 8 * 2,
            {"LD/ST": queries * 3 * 10 * 18, "INT": queries * 3 * 10 * 24},
            "at least k keys of 8 bytes from every split, passed over up to nine times in the cache; one query has up "
            "to 528 splits",
        ),
        Other(
            "exact scores of survivors",
            f"float16, {dim}: {queries:,} queries x {candidates} rows",
            scored * 2 * dim,
            {kind: scored * count for kind, count in exact.items()},
            "2 double operations and 2 conversions a dimension, 8 lanes to a row",
        ),
        Other(
            "rescore_rows",
            f"int8, {dim}: {queries:,} x {candidates} rows",
            scored * (dim + 4 + 4 + 8),
            {kind: scored * count for kind, count in exact.items()},
            "a row, its factor, its number and its key; arithmetic as above",
        ),
        Other(
            "judge_rest",
            f"{queries:,} x {candidates} rows",
            scored * 8 * 3,
            {"LD/ST": scored * 12, "INT": scored * 20},
            "keys and scores read, tails written; selection as merge_topk",
        ),
        Other(
            "keep_best",
            f"{queries:,} x {candidates} rows",
            scored * 8 * 2,
            {"LD/ST": scored * 16, "INT": scored * 24},
            "keys read, selected, sorted",
        ),
        Other(
            "pooled_rows",
            f"{texts} x {tokens} x {dim} float16 to bits",
            hidden * 2 + texts * (tokens * 8 + dim / 8),
            pooled,
            "hidden states and mask once, 48 bytes of code a text; an addition and a conversion a value",
        ),
        Other(
            "pooled_rows",
            f"{texts} x {tokens} x {dim} float16 to float32",
            hidden * 2 + texts * (tokens * 8 + dim * 4),
            pooled,
            "the same, 1,536 bytes a text written",
        ),
        Other(
            "pooling",
            f"32 x {tokens} x {dim} float16",
            32 * tokens * (dim * 2 + 8) + 32 * dim * 4,
            {"FP32": 32 * tokens * dim, "CVT": 32 * tokens * dim},
            "fewer texts than multiprocessors: slices of dimensions, the rows are coded by the next kernel",
        ),
        Other(
            "code_rows",
            f"{texts} x {dim} float32 to int8, normalized",
            texts * dim * 5,
            normal,
            "read, scaled, written; sums in double, one chain of 48 additions on each of 8 lanes",
        ),
        Other(
            "dense",
            f"{texts} x 768 to 768",
            (768 * 768 + 2 * texts * 768) * 4,
            {"FP32": 2 * texts * 768 * 768, "LD/ST": texts * 768 * 768 * 12 / 32},
            "products and sums are not fused, so as to round as the CPU does",
        ),
        Other(
            "pack",
            "1,000,000 rows of int8, 384",
            2 * 1_000_000 * dim,
            {"LD/ST": 1_000_000 * dim},
            "read and written once, through a tile in shared memory",
        ),
        Other(
            "longest_row",
            "1,000,000 rows of float16, 384",
            1_000_000 * dim * 2,
            {"FP64": 1_000_000 * dim * 2, "CVT": 1_000_000 * dim, "CVT64": 1_000_000 * dim},
            "every value once; squares in double",
        ),
    ]


def shown(value: float) -> str:
    """So many microseconds."""
    micros = value * 1e6
    return f"{micros:,.0f}" if micros >= 99.5 else f"{micros:.1f}" if micros >= 0.995 else f"{micros:.2f}"


def operations(counts: Counts) -> str:
    """As they stand in a cell, the slowest first."""
    order = sorted(counts, key=lambda kind: -counts[kind] / RATES[kind])
    return ", ".join(f"{counts[kind]:,.4g} {kind}" for kind in order if counts[kind])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables() -> str:
    """Both tables, in Markdown."""
    rows = 1_000_000
    scans = []
    for scan in SCANS.values():
        floors = [scan.floor(rows, queries) for queries in (1, scan.tile, 1000)]
        is_matrix = "matrix" in scan.kernel
        again = -(-1000 // scan.tile) * rows * scan.row_bytes / BYTES_PER_SECOND
        scans.append(
            [
                f"`{scan.kernel}`",
                scan.codes,
                str(scan.row_bytes),
                operations(scan.of_row),
                operations(scan.of_query),
                str(scan.tile),
                *[
                    "" if is_matrix and i == 0 else f"{shown(seconds)} {bound}"
                    for i, (seconds, bound) in enumerate(floors)
                ],
                shown(again),
                "not yet run on a GPU",
            ]
        )
    first = markdown(
        [
            "kernel",
            "codes",
            "bytes a row",
            "operations a row",
            "a row and query",
            "queries in a tile",
            "1 query, µs",
            "a tile, µs",
            "1,000 queries, µs",
            "1,000 queries, if every tile reads memory, µs",
            "measured",
        ],
        scans,
    )
    second = markdown(
        ["kernel", "example", "megabytes", "operations, millions", "floor, µs", "what it does", "measured"],
        [
            [
                f"`{other.kernel}`" if " " not in other.kernel else other.kernel,
                other.example,
                f"{other.nbytes / 1e6:.3g}",
                operations({kind: count / 1e6 for kind, count in other.counts.items()}),
                " ".join((shown(other.floor()[0]), other.floor()[1])),
                other.words,
                "not yet run on a GPU",
            ]
            for other in others()
        ],
    )
    rates = ", ".join(f"{kind} {rate}" for kind, rate in RATES.items())
    caption = (
        f"For 1,000,000 rows; {BYTES_PER_SECOND / 1e12:g} TB/s, {MULTIPROCESSORS} multiprocessors at "
        f"{HERTZ / 1e9:g} GHz, results of each a clock: {rates}."
    )
    return f"{caption}\n\n{first}\n\n{second}"


def section(text: str, change: Callable[[str], str]) -> str:
    """The text with what is between the two marks changed."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"expected one line {BEGIN} and one {END}")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    return f"{before}{BEGIN}\n{change(old)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="FILE", help="fail unless FILE has these very tables")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks in FILE")
    options = parser.parse_args()
    for file in filter(None, (options.check, options.write)):
        old = file.read_text()
        new = section(old, lambda _: tables())
        if file is options.write:
            file.write_text(new)
        elif old != new:
            sys.exit(f"the tables in {file} are of other counts: python benchmarks/gpu_floors.py --write {file}")
    if not options.check and not options.write:
        print(tables())


if __name__ == "__main__":
    main()
