"""The interface between an encoder and its engine: an engine other than onnxruntime encodes as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx_graphs import table, write_graph
from tiny_models import write_bert

from nestvec.base.types import Ids
from nestvec.encoder.encoder import Encoder
from nestvec.encoder.engine import Engine
from nestvec.encoder.engines import choice

TEXTS = ["the cat", "", "how do i parse a date", "a"]


class Lookup:
    """An engine in numpy: a token's hidden state is the row of `table(256, 8)` that its id names."""

    name = "lookup"
    pools = False
    dim = 8

    def __init__(self, path: Path, **_: Any) -> None:
        self.path = path

    def run(self, input_ids: Ids, mask: Ids) -> npt.NDArray[Any]:
        """As `Engine.run`."""
        return table(256, 8)[input_ids]


class PooledLookup(Lookup):
    """Gives the first token's hidden state as the vector of a text."""

    pools = True

    def run(self, input_ids: Ids, mask: Ids) -> npt.NDArray[Any]:
        """As `Engine.run`."""
        return super().run(input_ids, mask)[:, 0]


@pytest.mark.parametrize(("other", "output"), [(Lookup, "last_hidden_state"), (PooledLookup, "sentence_embedding")])
def test_any_engine_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: type[Lookup], output: str) -> None:
    folder = write_bert(tmp_path, hidden=8)
    write_graph(folder / "model.onnx", output=output, vocab=256)
    by_onnxruntime = Encoder(folder)
    assert by_onnxruntime.engine == "onnxruntime"
    engine: type[Engine] = other  # mypy checks that it follows the protocol
    monkeypatch.setattr(choice, "OnnxEngine", engine)
    encoder = Encoder(folder)
    assert (encoder.engine, encoder.dim, encoder.pipeline.to_dict()) == ("lookup", 8, by_onnxruntime.pipeline.to_dict())
    for precision in ("float32", "binary"):
        expected = by_onnxruntime.encode(TEXTS, precision=precision)
        np.testing.assert_array_equal(encoder.encode(TEXTS, precision=precision), expected)
