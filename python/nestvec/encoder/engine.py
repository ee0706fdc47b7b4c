"""The interface of an engine: token ids in, hidden states or finished vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from nestvec.base.device_array import DeviceArray
from nestvec.base.types import Ids


class Engine(Protocol):
    """Runs batches of token ids through a model. Several threads may use the same engine at once."""

    @property
    def name(self) -> str:
        """The name of the engine, such as "onnxruntime"; not of the model."""

    @property
    def path(self) -> Path:
        """The file or folder of the model, for messages."""

    @property
    def pools(self) -> bool:
        """Whether the output is a finished vector per text, not a hidden state per token."""

    @property
    def dim(self) -> int:
        """The width of the output."""

    def run(self, input_ids: Ids, mask: Ids) -> npt.NDArray[Any] | DeviceArray:
        """Runs a batch. input_ids, mask: (texts, tokens), the mask 1 for a token and 0 for padding.

        Returns (texts, tokens, dim), or (texts, dim) if it `pools`; float16 or float32, on the device of the engine.
        """

    def digest(self) -> str:
        """The SHA-256 of the weights, in hexadecimal digits: engines with equal digests give the same vectors."""

    def onnx_sha256(self) -> str | None:
        """The SHA-256 of its ONNX file, by which older tables name their model; None without such a file."""
