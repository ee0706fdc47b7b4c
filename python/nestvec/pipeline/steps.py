"""The steps after the encoder's engine: pool, project, normalize, truncate, quantize.

`Pipeline` is the compiled pass from hidden states to code rows, and `pool` is its first step alone; `truncate`,
`normalize` and `quantize` are in `nestvec.pipeline.rows`. All take float16, float32 or float64 arrays: anything with a
buffer, `__array__` or DLPack. They compute in float32 and return numpy arrays. Strided or Fortran-ordered input is
copied first. None returns NaN or infinity: a row that would hold one raises an `ArgumentError` that names it.

If all arrays of a call lie on one CUDA device, from any library with DLPack or the CUDA array interface, the device
computes the same values, and the functions return `DeviceArray`s. Such input must be C-contiguous float32, float16 or
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

_MODE_ALIASES = {"mean_sqrt_len_tokens": "mean_sqrt_len"}


def _frozen_floats(value: ArrayInput, what: str, *shape: str) -> Floats:
    """Returns a read-only float32 copy."""
    copy = np.array(as_floats(value, what, shape), np.float32)
    copy.setflags(write=False)
    return copy


def _short_hash(*arrays: Floats) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of the arrays' little-endian bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(array.astype("<f4").tobytes())
    return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Pooling:
    """The step from a text's token vectors to one vector, as sentence-transformers' Pooling module.

    modes: one or several of these names; their vectors are concatenated in the given order (`pooling_mode_*` flags in a
    model's config stand for the order cls, max, mean, mean_sqrt_len, weightedmean, lasttoken):
      cls            the first token
      max            the largest value of each dimension
      mean           the sum over the tokens, divided by their number
      mean_sqrt_len  the sum, divided by the square root of their number (also as "mean_sqrt_len_tokens")
      weightedmean   weights 1, 2, 3, ... from the text's first token on
      lasttoken      the last token
    include_prompt: False leaves out the first `prompt_tokens` tokens of each text. The weights of weightedmean still
    count them.

    Tokens with mask 0 are never read: padding on either side does not change a bit. For a text without tokens, mean,
    mean_sqrt_len, weightedmean and lasttoken give zeros, cls gives the vector at its first position (also if only the
    prompt is left), and max is an error when the pipeline runs.

    Raises `ArgumentError` for no mode, an unknown one, or a repeated one.
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
        """Describes the step as JSON values."""
        return {"step": "pooling", "modes": list(self.modes), "include_prompt": self.include_prompt}


@dataclass(frozen=True, eq=False)
class Dense:
    """The step activation(weight @ row + bias), as torch.nn.Linear and sentence-transformers' Dense module.

    weight: (out, in). bias: (out,), or None. Both are stored as float32 copies.
    activation: "identity", "tanh", "relu", "gelu" (exact, by the error function), "sigmoid" or "silu".

    Raises `ArgumentError` for an unknown activation and for shapes that do not match.
    """

    weight: Floats
    bias: Floats | None
    activation: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _frozen_floats(self.weight, "a Dense step's weight", "out", "in"))
        if self.bias is not None:
            object.__setattr__(self, "bias", _frozen_floats(self.bias, "a Dense step's bias", "out"))
        self._compile()

    def _compile(self) -> _core.DenseStep:
        return _core.DenseStep(self.weight, self.bias, as_name(self.activation, "activation"))

    def to_dict(self) -> dict[str, Any]:
        """Describes the step as JSON values: shapes and a hash in place of the weights."""
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

    weight, bias: (dim,), stored as float32 copies. The variance is the mean squared deviation, and eps has the same
    default, as in torch.nn.LayerNorm.
    """

    weight: Floats
    bias: Floats
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _frozen_floats(self.weight, "a LayerNorm step's weight", "dim"))
        object.__setattr__(self, "bias", _frozen_floats(self.bias, "a LayerNorm step's bias", "dim"))
        self._compile()

    def _compile(self) -> _core.LayerNormStep:
        return _core.LayerNormStep(self.weight, self.bias, self.eps)

    def to_dict(self) -> dict[str, Any]:
        """Describes the step as JSON values: a hash in place of the weights."""
        hashed = _short_hash(self.weight, self.bias)
        return {"step": "layer_norm", "dim": len(self.weight), "eps": self.eps, "sha256": hashed}


@dataclass(frozen=True)
class Normalize:
    """The step that scales rows to unit length, as `normalize` does."""

    def _compile(self) -> _core.NormalizeStep:
        return _core.NormalizeStep()

    def to_dict(self) -> dict[str, Any]:
        """Describes the step as JSON values."""
        return {"step": "normalize"}


Step: TypeAlias = "Pooling | Dense | LayerNorm | Normalize"


class Pipeline:
    """The steps after the encoder's engine, compiled into one pass from hidden states to code rows.

    steps: a `Pooling`, then any of `Dense`, `LayerNorm` and `Normalize`. hidden_dim: the width of the hidden states.
    A pipeline is immutable and may be called from many threads at once; it holds the GIL only to check its arguments.
    Each text is computed alone, in a fixed order: batch, padding and the number of threads do not change a bit of its
    row.

    Raises `ArgumentError` for steps in another order, and for a step whose input is not as wide as the output before.
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
        """The width of its input, the hidden states."""
        return self._hidden_dim

    @property
    def dim(self) -> int:
        """The width of its rows before truncation."""
        return self._epilogue.dim

    def output(self, dim: int | None = None, precision: str = "float32") -> tuple[int, np.dtype[Any]]:
        """The columns and the dtype of its rows. Raises `ArgumentError` for an invalid dim or precision."""
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
        """Computes one row per text from the hidden states of a batch.

        hidden: (texts, tokens, hidden_dim), float16 or float32 (float64 is rounded); sums are in float32 for all.
        mask: (texts, tokens), integers or bool, 1 for a token and 0 for padding on either side.
        prompt_tokens: the number of tokens of the prompt at the start of each text; used with include_prompt=False.
        dim: keep the first `dim` values of each row, after the steps; rows are scaled to unit length again if the last
        step is `Normalize`. None keeps all.
        precision: "float32", "float16", "int8", "uint8", "binary" or "ubinary", by the conventions of `quantize`.
        threads: the maximum; by default all that the process may use.

        Returns (texts, columns): `dim` columns, or for the binary ones dim bits packed into bytes.

        Raises `ArgumentError` for a wrong shape, dtype, mask value or name, and if a text's row is NaN, infinite, or
        too large for float16 at that precision.
        """
        prompt_tokens = as_index(prompt_tokens, "prompt_tokens", 0)
        dim = self.dim if dim is None else as_index(dim, "dim", 1, self.dim)
        precision, limit = as_name(precision, "precision"), thread_count(threads)
        shape = "texts", "tokens", "hidden_dim"
        if (on_device := device_arrays(hidden=hidden, mask=mask)) is not None:
            states, kept = check_floats(on_device[0], "hidden", shape).compiled, _mask_on_device(on_device[1]).compiled
            return DeviceArray.of(self._epilogue.run_on_device(states, kept, prompt_tokens, dim, precision, False)[0])
        floats, tokens = as_floats_or_halves(hidden, "hidden", shape), as_mask(mask, "mask")
        return self._epilogue.run(floats, tokens, prompt_tokens, dim, precision, limit)

    def encode(
        self,
        hidden: ArrayInput,
        mask: ArrayInput,
        tiers: Sequence[_core.TierSpec],
        prompt_tokens: int,
        dim: int,
        threads: int,
    ) -> list[_core.EncodedRows]:
        """Computes rows as a call does, as the codes of each tier of a table: row-major codes, factors, longest row."""
        states = as_floats_or_halves(hidden, "hidden", ("texts", "tokens", "hidden_dim"))
        return self._epilogue.encode(states, as_mask(mask, "mask"), prompt_tokens, dim, list(tiers), threads)

    def to_dict(self) -> dict[str, Any]:
        """Describes the pipeline as JSON values; pipelines with equal descriptions compute the same rows.

        Weights appear as the first 16 hexadecimal digits of their SHA-256.
        """
        return {"hidden_dim": self._hidden_dim, "steps": [step.to_dict() for step in self._steps]}


def _mask_on_device(mask: DeviceArray) -> DeviceArray:
    """Returns the mask as int64 on its device. Other types are converted in main memory: a mask is small."""
    exact = mask.type_name == "int64" and mask.ndim == 2
    return mask if exact else DeviceArray(as_mask(mask.numpy(), "mask"), mask.device)


@overload
def pool(  # type: ignore[overload-overlap]
    hidden: DeviceArray, mask: DeviceArray, mode: str | Sequence[str] = "mean"
) -> DeviceArray: ...


@overload
def pool(hidden: ArrayInput, mask: ArrayInput, mode: str | Sequence[str] = "mean") -> Floats: ...


def pool(hidden: ArrayInput, mask: ArrayInput, mode: str | Sequence[str] = "mean") -> Floats | DeviceArray:
    """Pools token vectors into one vector per text.

    hidden: (texts, tokens, hidden_dim) floats. mask: (texts, tokens), integers or bool, 1 for a token and 0 for
    padding on either side. mode: a mode of `Pooling`, or several, whose vectors are concatenated in that order.

    Returns float32 (texts, hidden_dim * modes).

    Raises `ArgumentError` for a wrong shape, dtype, mask value or mode, and if a text's vector is NaN or infinite.
    """
    shape = "texts", "tokens", "hidden_dim"
    steps = [Pooling((mode,) if isinstance(mode, str) else tuple(mode))]
    if (on_device := device_arrays(hidden=hidden, mask=mask)) is not None:
        checked = check_floats(on_device[0], "hidden", shape)
        return Pipeline(steps, checked.shape[-1])(checked, on_device[1])
    states = as_floats_or_halves(hidden, "hidden", shape)
    return Pipeline(steps, states.shape[-1])(states, mask)
