"""The ONNX graph of a BERT-family encoder, made with onnx.helper: standard operators of opset 17 only.

One layer, as in Vaswani et al. 2017 (post-norm) and Devlin et al. 2019:

    x = LayerNorm(x + concat over heads(softmax(Q K^T / sqrt(head size) + mask) V) W + b)
    x = LayerNorm(x + activation(x W + b) W + b)

ONNX Runtime recognises this order of nodes when it loads the file: it fuses the bias and the erf into BiasGelu (the
tanh form into FastGelu), the transposed keys and the scale into FusedMatMul, and turns the look-up of positions into a
slice. Further fusion does not pay on a CPU. With SkipLayerNormalization, which needs a fixed sequence length,
all-MiniLM-L6-v2 was 12% slower (one thread, 32 texts of 64 tokens); with the Attention node, which ONNX Runtime finds
only up to opset 12, the difference was within 2%.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from nestvec.base.types import Array
from nestvec.model.checkpoint import Architecture

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # the one that came with opset 17

# Added to the score of a padded key, as transformers does. It absorbs any score, so the key's weight is exactly 0; it
# is finite, so a row of padding attends evenly instead of giving NaN.
MASKED = np.finfo(np.float32).min


def build_graph(
    graph: onnx.GraphProto,
    architecture: Architecture,
    tensor: Callable[[str], Array],
    store: Callable[[TensorProto, Array], None],
    on_layer: Callable[[int], None],
) -> None:
    """Fills `graph`: int64 (batch, sequence) inputs, float32 last_hidden_state (batch, sequence, hidden).

    `tensor` returns a weight by its name, `store` puts an array into an initializer, `on_layer` is called after each
    layer with its number.
    """
    builder = _Builder(graph, architecture, tensor, store)
    mask = builder.mask()
    hidden = builder.embeddings()
    for i in range(architecture.layers):
        output = "last_hidden_state" if i == architecture.layers - 1 else None
        hidden = builder.layer(f"{architecture.layout.layer}.{i}", hidden, mask, output)
        on_layer(i)
    graph.name = architecture.model_type
    size = ["batch", "sequence"]
    for name in ("input_ids", "attention_mask", *(["token_type_ids"] if architecture.token_types > 1 else [])):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, size))
    graph.output.append(helper.make_tensor_value_info(hidden, TensorProto.FLOAT, [*size, architecture.hidden]))


class _Builder:
    """Adds nodes and initializers to the graph in place: onnx.helper's functions would copy all weights twice."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        architecture: Architecture,
        tensor: Callable[[str], Array],
        store: Callable[[TensorProto, Array], None],
    ) -> None:
        self.graph = graph
        self.architecture = architecture
        self.tensor = tensor
        self.store = store
        self.constants: set[str] = set()

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operator}_{len(self.graph.node)}"
        self.graph.node.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """An initializer, made once. Not by ascontiguousarray, which makes a scalar 1-d and so breaks a fusion."""
        if name not in self.constants:
            self.constants.add(name)
            self.store(self.graph.initializer.add(name=name), np.asarray(value, order="C"))
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.float32(value))

    def integers(self, name: str, value: int | list[int]) -> str:
        return self.constant(name, np.array(value, np.int64))

    def weight(self, name: str) -> str:
        return self.constant(name, self.tensor(name))

    def linear(self, hidden: str, name: str) -> str:
        # PyTorch stores (out, in); transposing now saves a Transpose in every run.
        weight = self.constant(f"{name}.weight.transposed", self.tensor(f"{name}.weight").T)
        return self.node("Add", self.node("MatMul", hidden, weight), self.weight(f"{name}.bias"))

    def layer_norm(self, hidden: str, name: str, output: str | None = None) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        epsilon = self.architecture.epsilon
        return self.node("LayerNormalization", hidden, weight, bias, output=output, axis=-1, epsilon=epsilon)

    def mask(self) -> str:
        """(batch, 1, 1, sequence): 0 for tokens and MASKED for padding."""
        mask = self.node("Unsqueeze", "attention_mask", self.integers("mask_axes", [1, 2]))
        keep = self.node("Cast", mask, to=TensorProto.BOOL)
        return self.node("Where", keep, self.scalar("zero", 0), self.scalar("masked", MASKED))

    def embeddings(self) -> str:
        words = self.node("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        table = self.tensor("embeddings.position_embeddings.weight")
        if self.architecture.token_types:
            types = self.tensor("embeddings.token_type_embeddings.weight")
            if self.architecture.token_types > 1:
                name = self.constant("embeddings.token_type_embeddings.weight", types)
                words = self.node("Add", words, self.node("Gather", name, "token_type_ids"))
            else:
                table = table + types[0]
        positions = self.node("Gather", self.constant("embeddings.position_embeddings.weight", table), self.positions())
        return self.layer_norm(self.node("Add", words, positions), "embeddings.LayerNorm")

    def positions(self) -> str:
        if not self.architecture.layout.padding_positions:
            length = self.node("Gather", self.node("Shape", "input_ids"), self.integers("one", 1))
            return self.node("Range", self.integers("start", 0), length, self.integers("one", 1))
        padding = self.integers("padding_id", self.architecture.padding_id)
        is_token = self.node("Not", self.node("Equal", "input_ids", padding))
        is_token = self.node("Cast", is_token, to=TensorProto.INT64)
        count = self.node("CumSum", is_token, self.integers("one", 1))
        return self.node("Add", self.node("Mul", count, is_token), padding)

    def layer(self, prefix: str, hidden: str, mask: str, output: str | None) -> str:
        layout = self.architecture.layout
        attended = self.linear(self.attention(prefix, hidden, mask), f"{prefix}.{layout.attention_output}")
        hidden = self.layer_norm(self.node("Add", attended, hidden), f"{prefix}.{layout.attention_norm}")
        wide = self.activation(self.linear(hidden, f"{prefix}.{layout.feed_forward_input}"))
        narrow = self.linear(wide, f"{prefix}.{layout.feed_forward_output}")
        return self.layer_norm(self.node("Add", narrow, hidden), f"{prefix}.{layout.feed_forward_norm}", output)

    def attention(self, prefix: str, hidden: str, mask: str) -> str:
        layout, heads = self.architecture.layout, self.architecture.heads
        head_size = self.architecture.hidden // heads
        split = self.integers("heads_shape", [0, 0, heads, head_size])  # 0 copies the input's size

        def project(name: str, order: list[int]) -> str:
            projected = self.node("Reshape", self.linear(hidden, f"{prefix}.{name}"), split)
            return self.node("Transpose", projected, perm=order)

        query = project(layout.query, [0, 2, 1, 3])
        key = project(layout.key, [0, 2, 3, 1])
        value = project(layout.value, [0, 2, 1, 3])
        scores = self.node("Div", self.node("MatMul", query, key), self.scalar("head_scale", math.sqrt(head_size)))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=3)
        attended = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.node("Reshape", attended, self.integers("hidden_shape", [0, 0, self.architecture.hidden]))

    def activation(self, x: str) -> str:
        match self.architecture.activation:
            case "gelu":  # x (1 + erf(x / sqrt 2)) / 2
                erf = self.node("Erf", self.node("Div", x, self.scalar("root_2", math.sqrt(2))))
                return self.gate(x, erf)
            case "gelu_tanh":  # x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
                cube = self.node("Mul", self.node("Pow", x, self.scalar("three", 3)), self.scalar("cubic", 0.044715))
                inner = self.node("Mul", self.node("Add", x, cube), self.scalar("tanh_scale", math.sqrt(2 / math.pi)))
                return self.gate(x, self.node("Tanh", inner))
            case "silu":
                return self.node("Mul", x, self.node("Sigmoid", x))
            case _:
                return self.node("Relu", x)

    def gate(self, x: str, sign: str) -> str:
        opening = self.node("Add", sign, self.scalar("float_one", 1))
        return self.node("Mul", self.node("Mul", x, self.scalar("half", 0.5)), opening)
