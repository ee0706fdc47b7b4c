"""What an encoder asks of an engine: token ids in, hidden states or finished vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from nestvec.base.device_array import DeviceArray
from nestvec.base.types import Ids


class Engine(Protocol):
    """Runs batches of token ids through a model. Several threads may use one at once."""

    @property
    def name(self) -> str:
        """The engine, such as "onnxruntime"; not the model."""

    @property
    def path(self) -> Path:
        """The file or folder of the model, for messages."""

    @property
    def pools(self) -> bool:
        """Whether the output is a finished vector per text, and not a hidden state per token."""

    @property
    def dim(self) -> int:
        """The width of the output."""

    def run(self, input_ids: Ids, mask: Ids) -> npt.NDArray[Any] | DeviceArray:
        """Runs a batch. input_ids, mask: (texts, tokens), the mask 1 for a token and 0 for padding.

        Returns (texts, tokens, dim), or (texts, dim) if it `pools`, float16 or float32, where the engine left it.
        """

    def digest(self) -> str:
        """The SHA-256 of the weights, as hexadecimal digits: two engines with equal ones give the same vectors."""

    def onnx_sha256(self) -> str | None:
        """The SHA-256 of its ONNX file, by which older tables name their model; None where it has no such file."""
