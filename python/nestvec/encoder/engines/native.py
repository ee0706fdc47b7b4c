"""An encoder in nestvec's own kernels: token ids in, hidden states out, without padding and without onnxruntime."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from nestvec import _core
from nestvec.base.digests import model_sha256
from nestvec.base.optional import require
from nestvec.base.types import Floats, Ids
from nestvec.errors import ArgumentError, ModelError
from nestvec.model.checkpoint import Checkpoint, read_architecture


class NativeEngine:
    """An `Engine`: the encoder of config.json and model.safetensors in a folder, in float32 on the CPU.

    It runs the BERT, RoBERTa, XLM-R, CamemBERT and DistilBERT layouts, as `nestvec export` reads them. A text has the
    same hidden states, bit for bit, alone and in any batch, for any number of threads, on every CPU. They differ from
    onnxruntime's by about 1e-5.
    threads: the number of CPU threads that a run may use.

    Raises `ModelError` for another architecture, and for weights that are missing, damaged, not finite, or not those of
    config.json.
    """

    name = "native"
    pools = False

    def __init__(self, folder: Path, *, threads: int) -> None:
        require("safetensors", "native", "running an encoder without onnxruntime")
        self.path = folder
        self._threads = threads
        self._architecture = architecture = read_architecture(folder)
        layout = architecture.layout
        with Checkpoint(folder, architecture) as checkpoint:

            def tensor(name: str) -> Floats:
                values: Floats = np.ascontiguousarray(checkpoint.tensor(name))
                try:
                    _core.check_finite(np.atleast_2d(values), name, threads)
                except ArgumentError as error:
                    raise ModelError(f"the weights in {folder} are damaged: {error}") from None
                return values

            def pair(name: str) -> tuple[Floats, Floats]:
                return tensor(f"{name}.weight"), tensor(f"{name}.bias")

            positions = tensor("embeddings.position_embeddings.weight")
            if architecture.token_types:
                positions = positions + tensor("embeddings.token_type_embeddings.weight")[0]
            parts = (
                *(layout.query, layout.key, layout.value, layout.attention_output, layout.attention_norm),
                *(layout.feed_forward_input, layout.feed_forward_output, layout.feed_forward_norm),
            )
            self._transformer = _core.Transformer(
                dim=architecture.hidden,
                heads=architecture.heads,
                intermediate=architecture.intermediate,
                epsilon=architecture.epsilon,
                activation=architecture.activation,
                words=tensor("embeddings.word_embeddings.weight"),
                positions=positions,
                norm=pair("embeddings.LayerNorm"),
                layers=[
                    list(chain.from_iterable(pair(f"{layout.layer}.{i}.{part}") for part in parts))
                    for i in range(architecture.layers)
                ],
            )

    @property
    def dim(self) -> int:
        """The width of the hidden states."""
        return self._architecture.hidden

    def run(self, input_ids: Ids, mask: Ids) -> Floats:
        """Runs a batch, see `Engine.run`. Padding takes no time, and its hidden states are 0."""
        tokens = mask != 0
        try:
            rows = self._transformer.run(
                input_ids[tokens].astype(np.int32),
                self._positions(input_ids, tokens)[tokens].astype(np.int32),
                tokens.sum(axis=1).cumsum(),
                self._architecture.layers,
                self._threads,
            )
        except ArgumentError as error:
            raise ModelError(f"{self.path} does not fit its tokenizer: {error}") from None
        hidden: Floats = np.zeros((*input_ids.shape, self.dim), np.float32)
        hidden[tokens] = rows
        return hidden

    def _positions(self, input_ids: Ids, tokens: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Ids:
        """The row of the position table for each token, as transformers counts them."""
        if not self._architecture.layout.padding_positions:
            return tokens.cumsum(axis=1) - 1
        padding = self._architecture.padding_id
        counted = tokens & (input_ids != padding)  # a text may name the padding token
        positions: Ids = counted.cumsum(axis=1) * counted + padding
        return positions

    def digest(self) -> str:
        """The digest of the weights: that of the ONNX file which `nestvec export` makes of them."""
        with Checkpoint(self.path, self._architecture) as checkpoint:
            return model_sha256(self._architecture.facts(), self._architecture.shapes(), checkpoint.tensor)

    def onnx_sha256(self) -> None:
        """None: it has no ONNX file."""
