"""Writes ONNX files that the exporter never writes, with outputs that can be computed by hand.

The hidden state of a token is the row of `table(vocab, dim)` that its id names, plus a tenth of its position if
the graph has position_ids; the sentence embedding is the hidden state of the first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def table(vocab: int, dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.sin(np.arange(vocab * dim, dtype=np.float32)).reshape(vocab, dim)


def write_graph(
    path: Path,
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    output: str = "last_hidden_state",
    vocab: int = 128,
    dim: int = 8,
    integers: int = TensorProto.INT64,
    floats: int = TensorProto.FLOAT,
    shape: Sequence[str | int] = ("batch", "sequence"),
    fixed_dim: bool = True,
    external: str | None = None,
) -> Path:
    """Returns `path`. `external` is the name of a file for the table's data, in the graph's folder."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["tokens"], axis=0)]
    tensors = [numpy_helper.from_array(table(vocab, dim), "table")]
    hidden = "tokens"
    if "position_ids" in inputs:
        tensors.append(numpy_helper.from_array(np.array(0.1, np.float32), "tenth"))
        tensors.append(numpy_helper.from_array(np.array([2], np.int64), "last_axis"))
        nodes += [
            helper.make_node("Cast", ["position_ids"], ["positions"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["positions", "tenth"], ["tenths"]),
            helper.make_node("Unsqueeze", ["tenths", "last_axis"], ["shifts"]),
            helper.make_node("Add", ["tokens", "shifts"], ["moved"]),
        ]
        hidden = "moved"
    out_shape: list[str | int] = [*shape, dim if fixed_dim else "dim"]
    if output == "sentence_embedding":
        tensors.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
        nodes.append(helper.make_node("Gather", [hidden, "first"], ["pooled"], axis=1))
        hidden, out_shape = "pooled", [out_shape[0], out_shape[2]]
    nodes.append(helper.make_node("Cast", [hidden], [output], to=floats))
    infos = [helper.make_tensor_value_info(name, integers, list(shape)) for name in inputs]
    if not fixed_dim:  # a tensor that a caller might replace by a wider or narrower tensor
        infos.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, ["vocab", "dim"]))
    graph = helper.make_graph(
        nodes,
        "table",
        infos,
        [helper.make_tensor_value_info(output, floats, out_shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if external is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    return path


def write_network(
    path: Path,
    weights: np.ndarray[Any, np.dtype[np.float32]],
    *,
    rows: str | int = "rows",
    floats: int = TensorProto.FLOAT,
    outputs: int = 1,
) -> Path:
    """A model of vectors: tanh(x @ weights). Returns `path`."""
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["sums"]), helper.make_node("Tanh", ["sums"], ["y"])]
    names = ["y", "sums"][:outputs]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", floats, [rows, weights.shape[0]])],
        [helper.make_tensor_value_info(name, floats, [rows, weights.shape[1]]) for name in names],
        [numpy_helper.from_array(weights.astype(helper.tensor_dtype_to_np_dtype(floats)), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
