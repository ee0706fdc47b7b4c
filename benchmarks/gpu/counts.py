"""The bytes and operations of each CUDA kernel, and the least time that they take on an H100.

A floor is the larger of two times: the bytes over the memory's bandwidth, and the operations of each kind over the rate
of all multiprocessors for that kind. It excludes launch, latency that too few warps cannot hide, bank conflicts and
tails. A kernel above its floor has a reason; a time below the floor means a wrong measurement or a wrong count.

Operations are counted in the kernels' source, per row (for all queries of a tile) and per row and query, and agree with
the inner loops that nvcc 13.0 makes for sm_90. An addition of three integers counts once (IADD3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# NVIDIA H100 SXM5. Bandwidth: 3.35 TB/s in the data sheet, of which copies reach 3.0. 132 multiprocessors. Clock: at
# most 1.98 GHz by the architecture white paper, 1.7 GHz under load.
BYTES_PER_SECOND = 3.0e12
MULTIPROCESSORS = 132
HERTZ = 1.7e9

# Results per multiprocessor and clock, compute capability 9.0: "Throughput of Native Arithmetic Instructions" in
# NVIDIA's CUDA C++ Best Practices Guide (in the Programming Guide before CUDA 13). That table lacks DP4A and byte
# permutation; assumed are the rates of integer multiply-add and of logic. LD/ST: 32 units by the white paper, 4 bytes
# each; a warp's access takes one clock if its lanes read one word per bank, or all the same word. CVT64 (to and from
# double): the rate of compute capability 8.0. MMA: products of matrix instructions. For int8, the white paper's 1,979
# TOPS, which wgmma reaches and mma.sync may not; for bits, the rate of the A100, as none is published for the H100.
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

Counts = Mapping[str, float]


def seconds_of(counts: Counts, multiprocessors: int = MULTIPROCESSORS, hertz: float = HERTZ) -> tuple[float, str]:
    """The least time for these operations, all kinds at once, and the kind that takes it."""
    times = {kind: count / RATES[kind] / multiprocessors / hertz for kind, count in counts.items()}
    slowest = max(times, key=lambda kind: times[kind], default="")
    return times.get(slowest, 0.0), slowest


def floor(nbytes: float, counts: Counts) -> tuple[float, str]:
    """The floor in seconds, and its cause: `memory` or a kind of operation."""
    computed, kind = seconds_of(counts)
    moved = nbytes / BYTES_PER_SECOND
    return (moved, "memory") if moved >= computed else (computed, kind)


@dataclass(frozen=True)
class Scan:
    """A scan kernel on rows of one shape. Operations: of_row, a row and tile of queries; of_query, a row and query."""

    kernel: str
    codes: str
    row_bytes: int
    tile: int
    of_query: Counts
    of_row: Counts = field(default_factory=dict)

    def counts(self, rows: int, queries: int) -> dict[str, float]:
        """Operations of a whole scan."""
        tiles = -(-queries // self.tile) if queries > 1 else 1
        kinds = dict.fromkeys([*self.of_row, *self.of_query])
        return {
            kind: rows * (tiles * self.of_row.get(kind, 0) + queries * self.of_query.get(kind, 0)) for kind in kinds
        }

    def floor(self, rows: int, queries: int) -> tuple[float, str]:
        """The floor of a scan that reads every row from memory once."""
        return floor(rows * self.row_bytes, self.counts(rows, queries))


CHOICE = 2  # integer operations per score: comparison with the query's limit, and the mark


def query_loads(words: float) -> float:
    """Accesses per row and query: a warp loads a word of the query once for its 64 rows, two rows a lane."""
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
    # Two clocks a look-up: 32 lanes read random words out of 64, so some of the 32 banks serves two lanes.
    each = {"LD/ST": 2 * columns, "INT": 1.5 * columns + CHOICE}
    return Scan("scan_lut8", f"pq{columns}x8", columns, 4, each, {"INT": columns, "LD/ST": columns / 4})


def lut4(kernel: str, codes: str, nbytes: int) -> Scan:
    each = {"LD/ST": 2 * nbytes, "INT": 3 * nbytes + CHOICE}
    return Scan(kernel, codes, nbytes, 4, each, {"INT": 3 * nbytes, "LD/ST": nbytes / 4})


def matrix(kernel: str, plain: Scan, steps: int, kind: str, of_score: Counts, of_row: Counts | None = None) -> Scan:
    """A warp multiplies 64 rows with a tile of 32 queries, 32 bytes of each operand in a step.

    of_row: operations that unpack codes into these bytes, without the loads.
    """
    products = 32 * steps if kind == "MMA int8" else 256 * steps * 5 / 4  # a quarter more counts the bits of the rows
    each = {kind: products, "LD/ST": steps / 8, **of_score}
    return Scan(kernel, plain.codes, plain.row_bytes, 32, each, {"LD/ST": plain.row_bytes / 4, **(of_row or {})})


HAMMING_384, HAMMING_1024, INT8, INT4 = hamming(384), hamming(1024), dot_i8(384), dot_i4(384)
SCALED = {"FP32": 1, "CVT": 1, "INT": CHOICE}  # the sum times the row's factor
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
    """A kernel other than a scan, on an example."""

    kernel: str
    example: str
    nbytes: float
    counts: Counts
    words: str

    def floor(self) -> tuple[float, str]:
        """The floor of the example."""
        return floor(self.nbytes, self.counts)


def exact_score(dim: int, decode: Counts) -> dict[str, float]:
    """Operations per row: all products and sums in double, to which row and query are widened."""
    return {"FP64": 2 * dim, "CVT64": 2 * dim, **decode}


def search_kernels() -> list[Other]:
    """Kernels of a search other than scans: 1,000 queries of 10,000,000 rows, 100 candidates each."""
    rows, queries, candidates, dim = 10_000_000, 1000, 100, 384
    sample = rows // 256
    scored = queries * candidates
    exact = {kind: scored * count for kind, count in exact_score(dim, {"CVT": dim}).items()}
    return [
        Other(
            "scan_sample",
            f"{sample:,} of {rows:,} rows of 384 bits, 1 query",
            sample * (48 + 4),
            {kind: sample * count for kind, count in HAMMING_384.of_query.items()},
            "one row in 256 (4,096 to 65,536 rows), scored as in the scan; 4 bytes written for each",
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
            exact,
            "2 double operations and 2 conversions a dimension, 8 lanes to a row",
        ),
        Other(
            "rescore_rows",
            f"int8, {dim}: {queries:,} x {candidates} rows",
            scored * (dim + 4 + 4 + 8),
            exact,
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
    ]


def epilogue_kernels() -> list[Other]:
    """Hidden states of 256 texts of 128 tokens, 384 dimensions."""
    texts, tokens, dim = 256, 128, 384
    hidden = texts * tokens * dim
    pooled = {"FP32": hidden, "CVT": hidden, "FP64": 2 * texts * dim, "CVT64": texts * dim}
    return [
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
            "the same; 1,536 bytes written for a text",
        ),
        Other(
            "pooling",
            f"32 x {tokens} x {dim} float16",
            32 * tokens * (dim * 2 + 8) + 32 * dim * 4,
            {"FP32": 32 * tokens * dim, "CVT": 32 * tokens * dim},
            "fewer texts than multiprocessors: a block takes a slice of dimensions; the next kernel codes the rows",
        ),
        Other(
            "code_rows",
            f"{texts} x {dim} float32 to int8, normalized",
            texts * dim * 5,
            {"FP64": 3 * texts * dim, "CVT64": 3 * texts * dim},
            "read, scaled, written; sums in double, one chain of 48 additions on each of 8 lanes",
        ),
        Other(
            "dense",
            f"{texts} x 768 to 768",
            (768 * 768 + 2 * texts * 768) * 4,
            {"FP32": 2 * texts * 768 * 768, "LD/ST": texts * 768 * 768 * 12 / 32},
            "products and sums are not fused: they round as on the CPU",
        ),
    ]


def placement_kernels() -> list[Other]:
    """Kernels that place a tier of 1,000,000 rows on the device."""
    rows, dim = 1_000_000, 384
    return [
        Other(
            "pack",
            f"{rows:,} rows of int8, {dim}",
            2 * rows * dim,
            {"LD/ST": rows * dim},
            "read and written once, through a tile in shared memory",
        ),
        Other(
            "longest_row",
            f"{rows:,} rows of float16, {dim}",
            rows * dim * 2,
            {"FP64": rows * dim * 2, "CVT": rows * dim, "CVT64": rows * dim},
            "every value once; squares in double",
        ),
    ]


def others() -> list[Other]:
    """All kernels but the scans."""
    return [*search_kernels(), *epilogue_kernels(), *placement_kernels()]
