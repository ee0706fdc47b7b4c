"""The outputs of an encoder, made from the hidden states of a batch: vectors, or codes for the tiers of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.device_array import DeviceArray
from nestvec.base.types import CodeRows, Ids
from nestvec.errors import ArgumentError
from nestvec.pipeline.steps import Pipeline

Rows = TypeVar("Rows")


class Output(Protocol[Rows]):
    """Rows of a window of texts. The batches of the window fill them in any order."""

    def empty(self, texts: int) -> Rows:
        """Allocates the rows of a window."""

    def put(self, rows: Rows, batch: list[int], hidden: Any, mask: Ids, prompt_tokens: int) -> None:
        """Runs the pipeline on a batch and writes its rows. `batch` holds their numbers in the window."""


class VectorOutput:
    """Rows as an array (texts, columns) of a precision."""

    def __init__(self, pipeline: Pipeline, dim: int, precision: str, threads: int) -> None:
        self._pipeline = pipeline
        self._options: dict[str, Any] = {"dim": dim, "precision": precision, "threads": threads}
        self._columns, self._dtype = pipeline.output(dim, precision)

    def empty(self, texts: int) -> npt.NDArray[Any]:
        """Allocates an array for the rows of a window."""
        return np.empty((texts, self._columns), self._dtype)

    def put(self, rows: npt.NDArray[Any], batch: list[int], hidden: Any, mask: Ids, prompt_tokens: int) -> None:
        """Runs the pipeline on the device of the hidden states; only its rows leave a GPU."""
        if isinstance(hidden, DeviceArray):
            device_mask = DeviceArray(mask, hidden.device)
            rows[batch] = self._pipeline(hidden, device_mask, prompt_tokens=prompt_tokens, **self._options).numpy()
        else:
            rows[batch] = self._pipeline(hidden, mask, prompt_tokens=prompt_tokens, **self._options)


class CodeOutput:
    """Rows as codes and factors for each tier. The epilogue writes them, without an array of float rows."""

    def __init__(self, pipeline: Pipeline, dim: int, tiers: Sequence[_core.TierSpec], threads: int) -> None:
        self._pipeline = pipeline
        self._dim = dim
        self._tiers = list(tiers)
        self._threads = threads

    def empty(self, texts: int) -> list[CodeRows]:
        """Allocates each tier's codes and factors of a window."""
        return [
            CodeRows(
                np.empty((texts, tier.row_bytes), np.uint8),
                np.empty((texts, tier.factors), np.float32) if tier.factors else None,
                0.0,
            )
            for tier in self._tiers
        ]

    def put(self, rows: list[CodeRows], batch: list[int], hidden: Any, mask: Ids, prompt_tokens: int) -> None:
        """Runs the pipeline as far as the codes."""
        encoded = self._pipeline.encode(hidden, mask, self._tiers, prompt_tokens, self._dim, self._threads)
        for tier, batch_codes in zip(rows, encoded, strict=True):
            tier.codes[batch] = batch_codes.codes
            if tier.factors is not None:
                tier.factors[batch] = batch_codes.factors
            tier.longest_row = max(tier.longest_row, batch_codes.longest_row)


class TextVectors(Iterator[npt.NDArray[Any]]):
    """The result of `Encoder.encode_batches`: the vectors of a stream of texts, as arrays in the order of the texts.

    `Table.build` takes codes instead of vectors if none of its codecs learns from a sample: then the epilogue writes
    codes, and no float array is made. Vectors or codes can be iterated over once.
    """

    def __init__(
        self,
        dim: int,
        stream: Callable[[Output[Any]], Iterator[Any]],
        vectors: VectorOutput,
        code_output: Callable[[Sequence[_core.TierSpec]], CodeOutput] | None,
    ) -> None:
        self.dim = dim
        self._stream = stream
        self._code_output = code_output
        self._vectors: Iterator[npt.NDArray[Any]] | None = stream(vectors)
        self._begun = False

    def __next__(self) -> npt.NDArray[Any]:
        if self._vectors is None:
            raise ArgumentError("these vectors were already read as codes; call encode_batches again")
        self._begun = True
        return next(self._vectors)

    @property
    def gives_codes(self) -> bool:
        """Whether `codes` can be called: float32 vectors on the CPU, none of which has been read."""
        return self._code_output is not None and not self._begun

    def codes(self, tiers: Sequence[_core.TierSpec]) -> Iterator[list[CodeRows]]:
        """Yields the codes of each window of texts, for each tier, instead of the vectors."""
        if self._code_output is None or self._begun:
            raise ArgumentError(
                "these vectors cannot be read as codes; expected float32 vectors on the CPU, none of them read yet"
            )
        self._vectors = None
        return self._stream(self._code_output(tiers))
