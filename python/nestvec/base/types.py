"""Shared types of signatures: arrays by their items, and the protocols between encoder and table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nestvec import _core

Array: TypeAlias = npt.NDArray[Any]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Doubles: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.float32]
Ids: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]


class SupportsEncode(Protocol):
    """What a table needs of the encoder of its rows and queries; `nestvec.Encoder` implements it."""

    @property
    def dim(self) -> int:
        """The number of dimensions of its vectors."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """The prompts by name."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """JSON values that differ between two encoders if their vectors may differ."""

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """The keys in which a stored fingerprint differs from this encoder's, in order; none for the same encoder."""

    def encode(self, texts: str | Sequence[str], *, prompt: str | None = None, dim: int | None = None) -> Floats:
        """Returns (texts, dim) float32, or (dim,) for a single text."""


@dataclass
class CodeRows:
    """Row-major codes of one tier of a table, before packing.

    codes: (rows, bytes). factors: (rows, declared dims), None if the tier has none. longest_row: upper bound on the
        length of any row times its factor.
    """

    codes: Bytes
    factors: Floats | None
    longest_row: float


class SupportsCodes(Protocol):
    """A source of rows that can also give their codes, such as `nestvec.Encoder.encode_batches`."""

    dim: int

    @property
    def gives_codes(self) -> bool:
        """Whether `codes` can be called now."""

    def codes(self, tiers: Sequence[_core.TierSpec]) -> Iterator[Sequence[CodeRows]]:
        """Yields batches of rows: for each batch the codes of the same rows in every tier."""
