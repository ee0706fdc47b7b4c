"""Types that signatures share: arrays by what they hold, and what a table asks of an encoder."""

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
    """What a table asks of the encoder that made its rows, or that makes its queries; `nestvec.Encoder` has it."""

    @property
    def dim(self) -> int:
        """The dimension of its vectors."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """Its prompts by name."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Plain values that change wherever its vectors may."""

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """The keys in which its fingerprint and a stored one differ, in order; none for the encoder that it is of."""

    def encode(self, texts: str | Sequence[str], *, prompt: str | None = None, dim: int | None = None) -> Floats:
        """(texts, dim) float32, or (dim,) for one text."""


@dataclass
class CodeRows:
    """Rows as one tier of a table has them, not packed yet.

    codes: (rows, bytes). factors: (rows, declared dims), None where the tier has none. longest_row: at least the length
        of each, times its factor.
    """

    codes: Bytes
    factors: Floats | None
    longest_row: float


class SupportsCodes(Protocol):
    """A source of rows that can code them by itself, `nestvec.Encoder.encode_batches` for instance."""

    dim: int

    @property
    def gives_codes(self) -> bool:
        """Whether it can do so now."""

    def codes(self, tiers: Sequence[_core.TierSpec]) -> Iterator[Sequence[CodeRows]]:
        """The same rows for each of the tiers, in batches."""
