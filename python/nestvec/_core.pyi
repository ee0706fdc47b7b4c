"""The compiled module. Its Python callers check shapes and dtypes; it checks only for memory safety."""

from collections.abc import Sequence
from typing import Any, Literal, NoReturn, overload

import numpy as np
import numpy.typing as npt

__version__: str

class _Type(type): ...

class _Object(metaclass=_Type):
    def __init__(self, *args: NoReturn, **kwargs: NoReturn) -> None: ...  # raises unless a subclass overrides it

# Backend: bind_backend.cpp

def capabilities() -> dict[str, Any]: ...
def backends() -> list[str]: ...
def cuda_report() -> dict[str, Any]: ...

# Arrays on devices: bind_device.cpp

def device_name(name: str) -> str: ...

class DeviceArray(_Object):
    @staticmethod
    def from_numpy(array: npt.NDArray[Any], device: str) -> DeviceArray: ...
    @staticmethod
    def from_dlpack(capsule: Any, what: str) -> DeviceArray: ...
    @staticmethod
    def from_pointer(
        pointer: int,
        dtype: str,
        shape: Sequence[int],
        strides: Sequence[int] | None,
        stream: int | None,
        device: int | None,
        owner: object,
        what: str,
    ) -> DeviceArray: ...
    @property
    def pointer(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def device_number(self) -> int: ...
    def numpy(self) -> npt.NDArray[Any]: ...
    def reshape(self, shape: Sequence[int]) -> DeviceArray: ...
    def part(self, first: int, count: int) -> DeviceArray: ...
    def dlpack(self, versioned: bool, copied: bool) -> Any: ...

# The native engine of encoders: bind_encoder.cpp

class Transformer(_Object):
    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        intermediate: int,
        epsilon: float,
        activation: str,
        words: npt.NDArray[np.float32],
        positions: npt.NDArray[np.float32],
        norm: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
        layers: Sequence[Sequence[npt.NDArray[np.float32]]],
    ) -> None: ...
    def run(
        self,
        ids: npt.NDArray[np.int32],
        positions: npt.NDArray[np.int32],
        ends: npt.NDArray[np.int64],
        layers: int,
        threads: int,
    ) -> npt.NDArray[np.float32]: ...

# Memory layout and meaning of codes, for each encoding: bind_encodings.cpp

class Encoding(_Object):
    @property
    def name(self) -> str: ...
    @property
    def meaning(self) -> Literal["values", "signs", "centroids", "levels"]: ...
    @property
    def word_bytes(self) -> int: ...  # a word is the part of a row that one SIMD lane loads
    @property
    def dims_per_word(self) -> int: ...
    @property
    def bits_per_dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...  # by its safetensors name, in a table file
    @property
    def item_bytes(self) -> int: ...  # of the dtype
    @property
    def word_shape(self) -> tuple[int, ...]: ...  # in items
    @property
    def centroids(self) -> int: ...  # of a sub-quantizer; 0 for other meanings
    @property
    def row_scale(self) -> bool: ...  # whether each row is divided by its scale
    def columns(self, dim: int, sub_quantizers: int = 0, bits: int = 0) -> int: ...
    def words(self, columns: int) -> int: ...
    def row_bytes(self, columns: int) -> int: ...
    def block_bytes(self, columns: int) -> int: ...
    def has_factors(self, cosine: bool, scaled_levels: bool) -> bool: ...
    def two_ways(self, scaled_levels: bool) -> bool: ...  # whether a search may use query codes or query floats

def encodings() -> list[Encoding]: ...

# Building: bind_build.cpp

MAX_DIM: int
BLOCK_ROWS: int
CHECKSUM_CHUNK: int

class Codebook(_Object):
    def __init__(self, encoding: str, columns: int, centroids: npt.NDArray[np.float32]) -> None: ...
    @staticmethod
    def train(
        sample: npt.NDArray[np.float32],
        encoding: str,
        columns: int,
        start: Codebook | None,
        seed: int,
        iterations: int,
        threads: int,
    ) -> Codebook: ...
    @staticmethod
    def of_levels(
        encoding: str,
        dim: int,
        levels: npt.NDArray[np.float32],
        scaled: bool,
        importance: npt.NDArray[np.float32] | None = None,
    ) -> Codebook: ...
    @property
    def values(self) -> npt.NDArray[np.float32]: ...

def pq_columns(encoding: str, dim: int, columns: int, prefix: int) -> int: ...

class EncodedTier(_Object):
    @property
    def codes(self) -> npt.NDArray[np.uint8]: ...
    @property
    def factors(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def squares(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def longest_row(self) -> float: ...

def encode_tier(
    x: npt.NDArray[np.float32],
    encoding: str,
    packed: bool,
    cosine: bool,
    dims: list[int],
    codebook: Codebook | None,
    squares: bool,
    threads: int,
) -> EncodedTier: ...
def decode_rows(
    codes: npt.NDArray[np.uint8],
    encoding: str,
    dim: int,
    cosine: bool,
    factors: npt.NDArray[np.float32] | None,
    codebook: Codebook | None,
    threads: int,
) -> npt.NDArray[np.float32]: ...
def pack_rows(codes: npt.NDArray[np.uint8], encoding: str, dim: int) -> npt.NDArray[np.uint8]: ...
def checksums(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]: ...
def crc32c(data: npt.NDArray[np.uint8]) -> int: ...
def map_file(descriptor: int, bytes: int) -> npt.NDArray[np.uint8]: ...

# Filters, tables and scans: bind_search.cpp

def squared_lengths(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]: ...
def allow_rows(rows: npt.NDArray[np.int64], filter: npt.NDArray[np.uint64], count: int) -> int: ...

class RowLists(_Object):
    def __init__(self, rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], count: int) -> None: ...

class Region(_Object):
    def __init__(self, data: npt.NDArray[np.uint8], checksums: npt.NDArray[np.uint32]) -> None: ...
    def require(self, section: npt.NDArray[np.uint8]) -> None: ...

class Tier(_Object):
    def __init__(
        self,
        *,
        encoding: str,
        dims: list[int],
        cosine: bool,
        norm_weight: float,
        codes: npt.NDArray[np.uint8],
        factors: npt.NDArray[np.float32] | None,
        squares: npt.NDArray[np.float32] | None,
        row_bound: float,
        codebook: Codebook | None,
    ) -> None: ...

class Forecast(_Object):
    def __init__(self, slope: float, intercept: float, deviation: float) -> None: ...
    @property
    def slope(self) -> float: ...
    @property
    def intercept(self) -> float: ...
    @property
    def deviation(self) -> float: ...

class EarlyStop(_Object):
    def __init__(self, forecasts: Sequence[Forecast], confidence: float) -> None: ...

class TierStats(_Object):
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def seconds(self) -> float: ...

class Placed(_Object):
    @property
    def on_device(self) -> bool | None: ...  # False: streamed to the device; None: on the CPU
    @property
    def bytes(self) -> int: ...

class Searcher(_Object):
    def __init__(
        self,
        rows: int,
        tiers: list[Tier],
        ids: npt.NDArray[np.int64] | None,
        region: Region | None,
        device: str,
        memory: int | None,
    ) -> None: ...
    def placed(self) -> list[Placed]: ...
    def search(
        self,
        queries: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float64] | None]],
        k: int,
        dim: int,
        candidates: Sequence[int],
        float_query: bool,
        early_stop: EarlyStop | None,
        filter: npt.NDArray[np.uint64] | RowLists | None,
        threads: int,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], list[TierStats]]: ...
    def search_above(
        self,
        queries: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float64] | None]],
        least: float,
        dim: int,
        float_query: bool,
        filter: npt.NDArray[np.uint64] | RowLists | None,
        threads: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.int64], list[TierStats]]: ...
    def vectors(self, tier: int, rows: npt.NDArray[np.int64], threads: int) -> npt.NDArray[np.float32]: ...

# Top-k without a table: bind_topk.cpp

_Rows = npt.NDArray[Any] | DeviceArray

def hamming_topk(
    queries: npt.NDArray[np.uint8], codes: _Rows, k: int, threads: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def inner_topk_int8(
    queries: npt.NDArray[np.int8], x: _Rows, k: int, threads: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
def inner_topk_float(
    queries: npt.NDArray[np.float32], x: _Rows, dtype: str, k: int, threads: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...

# Linear maps of rows: bind_linear.cpp

def linear(
    x: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, threads: int
) -> npt.NDArray[np.float32]: ...
def hadamard(
    x: npt.NDArray[np.float32], signs: npt.NDArray[np.uint8], inverse: bool, threads: int
) -> npt.NDArray[np.float32]: ...
def multiply(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], threads: int) -> npt.NDArray[np.float64]: ...
def eigen_symmetric(
    matrix: npt.NDArray[np.float64], threads: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def orthonormal_rows(rows: npt.NDArray[np.float64], threads: int) -> npt.NDArray[np.float64]: ...
def check_finite(x: npt.NDArray[np.float32], what: str, threads: int = 0) -> None: ...

# Rows after the encoder: bind_codec.cpp, bind_epilogue.cpp

def normalize(x: npt.NDArray[np.float32], threads: int = 0) -> npt.NDArray[np.float32]: ...
def quantize(x: npt.NDArray[np.float32], precision: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]: ...
@overload
def quantize_ranges(
    x: npt.NDArray[np.float32], precision: str, ranges: npt.NDArray[np.float32]
) -> npt.NDArray[Any]: ...
@overload
def quantize_ranges(x: DeviceArray, precision: str, ranges: npt.NDArray[np.float32]) -> DeviceArray: ...

class PoolingStep(_Object):
    def __init__(self, modes: Sequence[str], include_prompt: bool) -> None: ...

class DenseStep(_Object):
    def __init__(
        self, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, activation: str
    ) -> None: ...

class LayerNormStep(_Object):
    def __init__(self, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], eps: float) -> None: ...

class NormalizeStep(_Object):
    def __init__(self) -> None: ...

class TierSpec(_Object):
    def __init__(self, encoding: str, cosine: bool, dims: Sequence[int]) -> None: ...
    @property
    def row_bytes(self) -> int: ...
    @property
    def factors(self) -> int: ...  # per row, may be 0

class EncodedRows(_Object):
    @property
    def codes(self) -> npt.NDArray[np.uint8]: ...
    @property
    def factors(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def longest_row(self) -> float: ...

class Epilogue(_Object):
    def __init__(
        self, steps: Sequence[PoolingStep | DenseStep | LayerNormStep | NormalizeStep], hidden_dim: int
    ) -> None: ...
    @property
    def dim(self) -> int: ...
    def run(
        self,
        hidden: npt.NDArray[np.float32] | npt.NDArray[np.float16],
        mask: npt.NDArray[np.int64],
        prompt_tokens: int,
        dim: int,
        precision: str,
        threads: int,
    ) -> npt.NDArray[Any]: ...
    def encode(
        self,
        hidden: npt.NDArray[np.float32] | npt.NDArray[np.float16],
        mask: npt.NDArray[np.int64],
        prompt_tokens: int,
        dim: int,
        tiers: Sequence[TierSpec],
        threads: int,
    ) -> list[EncodedRows]: ...
    def run_on_device(
        self, hidden: DeviceArray, mask: DeviceArray, prompt_tokens: int, dim: int, precision: str, scaled: bool
    ) -> tuple[DeviceArray, DeviceArray | None]: ...
