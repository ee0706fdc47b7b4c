"""Everything after the encoder: pool, project, normalize, truncate, quantize.

`Pipeline` is the compiled pass from hidden states to code rows, and `pool` one of its steps on its own; `truncate`,
`normalize` and `quantize` are in `nestvec.pipeline.rows`. All take float16, float32 or float64 arrays from anything
with a buffer, `__array__` or DLPack, compute in float32, and return numpy arrays. Strided or Fortran-ordered input is
copied first. None of them returns NaN or infinity: a row that would hold one is an `ArgumentError` that says where.

Where all arrays of a call lie on one CUDA device, of any library with DLPack or the CUDA array interface, the work is
done there, to the same values, and `DeviceArray`s are returned. They must be C-contiguous, of float32, float16 or
bfloat16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_floats, as_floats_or_halves, as_index, as_mask, as_name
from nestvec.base.checks import thread_count
from nestvec.base.device_array import DeviceArray, check_floats, device_arrays
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError

_FloatArray: TypeAlias = Floats

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

    def output(self, dim: int | None = None, precision: str = "float32") -> tuple[int, np.dtype[Any]]:
        """The columns and the dtype of its rows. Raises `ArgumentError` for a dim or precision that it cannot give."""
        dim = self.dim if dim is None else as_index(dim, "dim", 1, self.dim)
        no_rows, _ = _core.quantize(np.empty((0, dim), np.float32), as_name(precision, "precision"))
        return no_rows.shape[1], no_rows.dtype

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        hidden: DeviceArray,
        mask: DeviceArray,
        *,
        prompt_tokens: int = 0,
        dim: int | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> DeviceArray: ...

    @overload
    def __call__(
        self,
        hidden: ArrayInput,
        mask: ArrayInput,
        *,
        prompt_tokens: int = 0,
        dim: int | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> npt.NDArray[Any]: ...

    def __call__(
        self,
        hidden: ArrayInput,
        mask: ArrayInput,
        *,
        prompt_tokens: int = 0,
        dim: int | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> npt.NDArray[Any] | DeviceArray:
        """Turns the hidden states of a batch into one row per text.

        hidden: (texts, tokens, hidden_dim), float16 or float32 (float64 is rounded); sums are in float32 for all.
        mask: (texts, tokens), integers or bool, 1 for a token and 0 for padding on either side.
        prompt_tokens: how many tokens at the start of each text are its prompt; used where the pooling leaves it out.
        dim: keep the first `dim` values of each row, after the steps; they are brought back to unit length if the
        last step is `Normalize`. None keeps all.
        precision: "float32", "float16", "int8", "uint8", "binary" or "ubinary", by the conventions of `quantize`.
        threads: at most this many, by default all that the process may use.

        Returns (texts, columns): `dim` columns, or a bit for each, in bytes, for the binary ones.

        Raises `ArgumentError` for a wrong shape, dtype, mask value or name, and where a text's row comes out NaN,
        infinite, or too large for float16 at that precision.
        """
        prompt_tokens = as_index(prompt_tokens, "prompt_tokens", 0)
        dim = self.dim if dim is None else as_index(dim, "dim", 1, self.dim)
        precision, limit = as_name(precision, "precision"), thread_count(threads)
        shape = "texts", "tokens", "hidden_dim"
        if (on_device := device_arrays(hidden=hidden, mask=mask)) is not None:
            states, kept = check_floats(on_device[0], "hidden", shape).compiled, _mask_on_device(on_device[1]).compiled
            return DeviceArray.of(self._epilogue.run_on_device(states, kept, prompt_tokens, dim, precision, False)[0])
        here = as_floats_or_halves(hidden, "hidden", shape), as_mask(mask, "mask")
        return self._epilogue.run(*here, prompt_tokens, dim, precision, limit)

    def encode(
        self,
        hidden: ArrayInput,
        mask: ArrayInput,
        tiers: Sequence[_core.TierSpec],
        prompt_tokens: int,
        dim: int,
        threads: int,
    ) -> list[_core.EncodedRows]:
        """As a call of it, for the tiers of a table: row-major codes, factors and the longest row of each."""
        states = as_floats_or_halves(hidden, "hidden", ("texts", "tokens", "hidden_dim"))
        return self._epilogue.encode(states, as_mask(mask, "mask"), prompt_tokens, dim, list(tiers), threads)

    def to_dict(self) -> dict[str, Any]:
        """Describes the pipeline in JSON values; two pipelines with equal descriptions make the same rows.

        Weights appear as the first 16 hexadecimal digits of their SHA-256.
        """
        return {"hidden_dim": self._hidden_dim, "steps": [step.to_dict() for step in self._steps]}


def _mask_on_device(mask: DeviceArray) -> DeviceArray:
    """A mask on a device as int64. Another type takes the way over main memory: a mask is small."""
    exact = mask.type_name == "int64" and mask.ndim == 2
    return mask if exact else DeviceArray(as_mask(mask.numpy(), "mask"), mask.device)


@overload
def pool(  # type: ignore[overload-overlap]
    hidden: DeviceArray, mask: DeviceArray, mode: str | Sequence[str] = "mean"
) -> DeviceArray: ...


@overload
def pool(hidden: ArrayInput, mask: ArrayInput, mode: str | Sequence[str] = "mean") -> _FloatArray: ...


def pool(hidden: ArrayInput, mask: ArrayInput, mode: str | Sequence[str] = "mean") -> _FloatArray | DeviceArray:
    """Pools token vectors into one vector per text.

    hidden: (texts, tokens, hidden_dim) floats. mask: (texts, tokens), integers or bool, 1 for a token and 0 for
    padding on either side. mode: a name from `Pooling`, or several, whose vectors are concatenated in that order.

    Returns float32 (texts, hidden_dim * modes).

    Raises `ArgumentError` for a wrong shape, dtype, mask value or mode, and where a text's vector comes out NaN or
    infinite.
    """
    shape = "texts", "tokens", "hidden_dim"
    steps = [Pooling((mode,) if isinstance(mode, str) else tuple(mode))]
    if (on_device := device_arrays(hidden=hidden, mask=mask)) is not None:
        checked = check_floats(on_device[0], "hidden", shape)
        return Pipeline(steps, checked.shape[-1])(checked, on_device[1])
    states = as_floats_or_halves(hidden, "hidden", shape)
    return Pipeline(steps, states.shape[-1])(states, mask)
