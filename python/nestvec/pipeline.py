"""Everything after the encoder: pool, project, normalize, truncate, quantize.

`Pipeline` is the compiled pass from hidden states to code rows; `pool`, `truncate`, `normalize` and `quantize` are the
same steps on their own. All take float16, float32 or float64 arrays from anything with a buffer, `__array__` or DLPack,
compute in float32, and return numpy arrays. Strided or Fortran-ordered input is copied first. None of them returns NaN
or infinity: a row that would hold one is an `ArgumentError` that says where it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.arrays import ArrayInput, as_floats, as_floats_or_halves, as_index, as_mask, as_name
from nestvec.errors import ArgumentError
from nestvec.topk import thread_count

_FloatArray: TypeAlias = npt.NDArray[np.float32]

_MODE_ALIASES = {"mean_sqrt_len_tokens": "mean_sqrt_len"}


def _frozen_floats(value: ArrayInput, what: str, *shape: str) -> _FloatArray:
    """Returns a float32 copy that nobody can change."""
    copy = np.array(as_floats(value, what, shape), np.float32)
    copy.setflags(write=False)
    return copy


def _short_hash(*arrays: _FloatArray) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of the arrays' little-endian bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(array.astype("<f4").tobytes())
    return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Pooling:
    """The step that makes one vector of a text's token vectors, as sentence-transformers' Pooling module does.

    modes: one or several of these names, whose vectors are concatenated in the order given (a model's config that sets
    `pooling_mode_*` flags means the order cls, max, mean, mean_sqrt_len, weightedmean, lasttoken):
      cls            the first token
      max            the largest value of each dimension
      mean           the sum over the tokens, divided by their number
      mean_sqrt_len  the sum, divided by the square root of their number (also as "mean_sqrt_len_tokens")
      weightedmean   weights 1, 2, 3, ... from the text's first token on
      lasttoken      the last token
    include_prompt: False leaves the first `prompt_tokens` tokens of each text out. The weights of weightedmean count
    them all the same.

    Tokens with mask 0 are never read, so padding on either side changes nothing, not even the last bit. Of a text
    without any token, mean, mean_sqrt_len, weightedmean and lasttoken make zeros, cls the vector at its first position
    (the same where only the prompt is left), and max is an error when the pipeline runs.

    Raises `ArgumentError` for no mode, an unknown one, or one named twice.
    """

    modes: Sequence[str] = ("mean",)
    include_prompt: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.modes, str):
            raise ArgumentError(f"modes is the string {self.modes!r}; expected a sequence of names: ({self.modes!r},)")
        names = [as_name(mode, "a pooling mode") for mode in self.modes]
        object.__setattr__(self, "modes", tuple(_MODE_ALIASES.get(name, name) for name in names))
        self._compile()

    def _compile(self) -> _core.PoolingStep:
        return _core.PoolingStep(self.modes, self.include_prompt)

    def to_dict(self) -> dict[str, Any]:
        """Describes the step in JSON values."""
        return {"step": "pooling", "modes": list(self.modes), "include_prompt": self.include_prompt}


@dataclass(frozen=True, eq=False)
class Dense:
    """The step activation(weight @ row + bias), as torch.nn.Linear and sentence-transformers' Dense module have it.

    weight: (out, in). bias: (out,), or None for none. Both are kept as float32 copies.
    activation: "identity", "tanh", "relu", "gelu" (exact, by the error function), "sigmoid" or "silu".

    Raises `ArgumentError` for an unknown activation and for shapes that do not match.
    """

    weight: _FloatArray
    bias: _FloatArray | None
    activation: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _frozen_floats(self.weight, "a Dense step's weight", "out", "in"))
        if self.bias is not None:
            object.__setattr__(self, "bias", _frozen_floats(self.bias, "a Dense step's bias", "out"))
        self._compile()

    def _compile(self) -> _core.DenseStep:
        return _core.DenseStep(self.weight, self.bias, as_name(self.activation, "activation"))

    def to_dict(self) -> dict[str, Any]:
        """Describes the step in JSON values: shapes and a hash in place of the weights."""
        out, width = self.weight.shape
        hashed = _short_hash(self.weight) if self.bias is None else _short_hash(self.weight, self.bias)
        return {
            "step": "dense",
            "in": width,
            "out": out,
            "bias": self.bias is not None,
            "activation": self.activation,
            "sha256": hashed,
        }


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """The step (row - mean) / sqrt(variance + eps) * weight + bias (Ba et al. 2016, arXiv:1607.06450).

    weight, bias: (dim,), kept as float32 copies. The variance is the mean squared deviation, as in torch.nn.LayerNorm,
    whose eps is the default.
    """

    weight: _FloatArray
    bias: _FloatArray
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _frozen_floats(self.weight, "a LayerNorm step's weight", "dim"))
        object.__setattr__(self, "bias", _frozen_floats(self.bias, "a LayerNorm step's bias", "dim"))
        self._compile()

    def _compile(self) -> _core.LayerNormStep:
        return _core.LayerNormStep(self.weight, self.bias, self.eps)

    def to_dict(self) -> dict[str, Any]:
        """Describes the step in JSON values: a hash in place of the weights."""
        hashed = _short_hash(self.weight, self.bias)
        return {"step": "layer_norm", "dim": len(self.weight), "eps": self.eps, "sha256": hashed}


@dataclass(frozen=True)
class Normalize:
    """The step that scales rows to unit length, as `normalize` does."""

    def _compile(self) -> _core.NormalizeStep:
        return _core.NormalizeStep()

    def to_dict(self) -> dict[str, Any]:
        """Describes the step in JSON values."""
        return {"step": "normalize"}


Step: TypeAlias = "Pooling | Dense | LayerNorm | Normalize"


class Pipeline:
    """The steps after the encoder, compiled into one pass from hidden states to code rows.

    steps: one `Pooling` first, then any of `Dense`, `LayerNorm` and `Normalize`. hidden_dim: the width of the encoder's
    hidden states. A pipeline cannot be changed and may be called from many threads at once; it holds the GIL only while
    it looks at its arguments. Each text is computed on its own, in one fixed order: batch, padding and the number of
    threads change no bit of its result.

    Raises `ArgumentError` for steps in another order, or whose shapes do not follow one another.
    """

    __slots__ = ("_epilogue", "_hidden_dim", "_steps")

    def __init__(self, steps: Sequence[Step], hidden_dim: int) -> None:
        self._steps = tuple(steps)
        for step in self._steps:
            if not isinstance(step, (Pooling, Dense, LayerNorm, Normalize)):
                raise ArgumentError(
                    f"a step is of type {type(step).__name__}; expected Pooling, Dense, LayerNorm or Normalize"
                )
        self._hidden_dim = as_index(hidden_dim, "hidden_dim", 1)
        self._epilogue = _core.Epilogue([step._compile() for step in self._steps], self._hidden_dim)

    def __reduce__(self) -> tuple[type[Pipeline], tuple[tuple[Step, ...], int]]:
        return Pipeline, (self._steps, self._hidden_dim)

    def __repr__(self) -> str:
        names = ", ".join(type(step).__name__ for step in self._steps)
        return f"Pipeline([{names}], hidden_dim={self._hidden_dim}, dim={self.dim})"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return self._steps

    @property
    def hidden_dim(self) -> int:
        """The width of the hidden states that it takes."""
        return self._hidden_dim

    @property
    def dim(self) -> int:
        """The width of the rows that it makes, before truncation."""
        return self._epilogue.dim

    def __call__(
        self,
        hidden: ArrayInput,
        mask: ArrayInput,
        *,
        prompt_tokens: int = 0,
        dim: int | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> npt.NDArray[Any]:
        """Turns the hidden states of a batch into one row per text.

        hidden: (texts, tokens, hidden_dim), float16 or float32 (float64 is rounded); sums are in float32 for all.
        mask: (texts, tokens), integers or bool, 1 for a token and 0 for padding on either side.
        prompt_tokens: how many tokens at the start of each text are its prompt; used where the pooling leaves it out.
        dim: keep the first so many values of each row, after the steps; they are brought back to unit length if the
        last step is `Normalize`. None keeps all.
        precision: "float32", "float16", "int8", "uint8", "binary" or "ubinary", by the conventions of `quantize`.
        threads: at most this many, by default all that the process may use.

        Returns (texts, columns): `dim` columns, or a bit for each, in bytes, for the binary ones.

        Raises `ArgumentError` for a wrong shape, dtype, mask value or name, and where a text's row comes out NaN,
        infinite, or too large for float16 at that precision.
        """
        return self._epilogue.run(
            as_floats_or_halves(hidden, "hidden", ("texts", "tokens", "hidden_dim")),
            as_mask(mask, "mask"),
            as_index(prompt_tokens, "prompt_tokens", 0),
            self.dim if dim is None else as_index(dim, "dim", 1, self.dim),
            as_name(precision, "precision"),
            thread_count(threads),
        )

    def to_dict(self) -> dict[str, Any]:
        """Describes the pipeline in JSON values; two pipelines with equal descriptions make the same rows.

        Weights appear as the first 16 hexadecimal digits of their SHA-256.
        """
        return {"hidden_dim": self._hidden_dim, "steps": [step.to_dict() for step in self._steps]}


def pool(hidden: ArrayInput, mask: ArrayInput, mode: str | Sequence[str] = "mean") -> _FloatArray:
    """Pools token vectors into one vector per text.

    hidden: (texts, tokens, hidden_dim) floats. mask: (texts, tokens), integers or bool, 1 for a token and 0 for
    padding on either side. mode: a name from `Pooling`, or several, whose vectors are concatenated in that order.

    Returns float32 (texts, hidden_dim * modes).

    Raises `ArgumentError` for a wrong shape, dtype, mask value or mode, and where a text's vector comes out NaN or
    infinite.
    """
    states = as_floats_or_halves(hidden, "hidden", ("texts", "tokens", "hidden_dim"))
    step = Pooling((mode,) if isinstance(mode, str) else tuple(mode))
    return Pipeline([step], states.shape[-1])(states, mask)


def truncate(x: ArrayInput, dim: int) -> _FloatArray:
    """Keeps the first `dim` values of each row, for models trained to nest (Kusupati et al. 2022, arXiv:2205.13147).

    x: (rows, width) or (width,) floats. dim: 1 to width. Returns a float32 copy, (rows, dim) or (dim,). Lengths are not
    restored: follow with `normalize` where the rows had unit length.

    Raises `ArgumentError` for a wrong shape, dtype or dim.
    """
    array = as_floats(x, "x", ("rows", "width"), ("width",))
    return np.array(array[..., : as_index(dim, "dim", 1, array.shape[-1])], np.float32)


def normalize(x: ArrayInput) -> _FloatArray:
    """Scales each row to unit length (L2).

    x: (rows, dim) or (dim,) floats. Returns float32 of the same shape. A row of zeros stays zero; every other row, from
    the smallest to the largest numbers of float32, comes out with length 1.

    Raises `ArgumentError` for a wrong shape or dtype, and for NaN or infinite values.
    """
    array = as_floats(x, "x", ("rows", "dim"), ("dim",))
    return _core.normalize(array.reshape(-1, array.shape[-1])).reshape(array.shape)


@overload
def quantize(
    x: ArrayInput, precision: str, *, ranges: ArrayInput | None = None, return_scales: Literal[False] = False
) -> npt.NDArray[Any]: ...


@overload
def quantize(
    x: ArrayInput, precision: str, *, ranges: ArrayInput | None = None, return_scales: Literal[True]
) -> tuple[npt.NDArray[Any], _FloatArray]: ...


def quantize(
    x: ArrayInput, precision: str, *, ranges: ArrayInput | None = None, return_scales: bool = False
) -> npt.NDArray[Any] | tuple[npt.NDArray[Any], _FloatArray]:
    """Codes rows with fewer bits.

    x: (rows, dim) or (dim,) floats; as everywhere, float64 is rounded to float32 first. precision:
      float32  the values themselves
      float16  rounded to nearest even; 65520 or more, which would become infinite, is an error
      int8     symmetric, one scale per row: scale = max|x| / 127, code = x / scale rounded to nearest even, in -127 to
               127; scale and codes are 0 for a row of zeros
      uint8    the int8 code + 128
      ubinary  one bit per value, x > 0, most significant bit first, each row padded with zero bits to whole bytes
               (numpy.packbits; sentence-transformers' ubinary): uint8
      binary   the ubinary byte - 128: int8
    ranges: (2, dim), the minimum and maximum of each dimension, for int8 and uint8 as sentence-transformers'
    quantize_embeddings (version 6, bit for bit on float32) uses them: code = floor((x - minimum) / step) with
    step = (maximum - minimum) / 255, or 1 where that is 0, kept within 0 to 255, and 128 less for int8. Values outside
    the ranges get the nearest code. Every dimension is stretched to its own range, so inner products of such codes are
    not those of the vectors; without ranges they are, up to the rows' scales and rounding.
    return_scales: also return the scales, float32 (rows,), for int8 and uint8 without ranges:
    x is about codes * scales[:, None], or (codes - 128) * scales[:, None] for uint8.

    Returns (rows, columns), or (columns,) for a single row: codes of the dtype that the precision names.

    Raises `ArgumentError` for a wrong shape, dtype or name, for NaN or infinite values, for ranges or return_scales
    that the precision has no use for, and for ranges that are not finite or not in order.
    """
    array = as_floats(x, "x", ("rows", "dim"), ("dim",))
    rows, lead = array.reshape(-1, array.shape[-1]), array.shape[:-1]
    if return_scales and (precision not in ("int8", "uint8") or ranges is not None):
        raise ArgumentError(
            f"return_scales was given with precision {precision!r}{'' if ranges is None else ' and ranges'}; "
            "expected 'int8' or 'uint8' without ranges: nothing else has a scale per row"
        )
    if ranges is not None:
        limits = as_floats(ranges, "ranges", ("2", "dim"))
        codes = _core.quantize_ranges(rows, as_name(precision, "precision"), limits)
        return codes.reshape(*lead, codes.shape[1])
    codes, scales = _core.quantize(rows, as_name(precision, "precision"))
    codes = codes.reshape(*lead, codes.shape[1])
    return (codes, scales.reshape(lead)) if return_scales else codes
