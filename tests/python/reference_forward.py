"""A BERT-family encoder in float64 numpy, text by text and head by head, written from the papers' formulas.

Vaswani et al. 2017 for attention, Ba et al. 2016 for layer norm, Hendrycks and Gimpel 2016 for GELU and SiLU, Devlin et
al. 2019 for the embeddings, Liu et al. 2019 (fairseq's make_positions) for RoBERTa's positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
BERT_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}
DISTILBERT_LAYER = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attended": "attention.out_lin",
    "attended_norm": "sa_layer_norm",
    "wide": "ffn.lin1",
    "narrow": "ffn.lin2",
    "narrow_norm": "output_layer_norm",
}


def forward(weights: dict[str, Array], config: dict[str, Any], ids: Array, mask: Array, types: Array) -> Array:
    """(batch, sequence) token ids, mask and token types to (batch, sequence, hidden) float64 hidden states."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    return np.stack([_text(weights, config, *row) for row in zip(ids, mask, types, strict=True)])


def _text(weights: dict[str, Array], config: dict[str, Any], ids: Array, mask: Array, types: Array) -> Array:
    distilbert = config["model_type"] == "distilbert"
    names = DISTILBERT_LAYER if distilbert else BERT_LAYER
    layer = "transformer.layer" if distilbert else "encoder.layer"
    layers = config["n_layers" if distilbert else "num_hidden_layers"]
    heads = config["n_heads" if distilbert else "num_attention_heads"]
    activation = ACTIVATIONS[config["activation" if distilbert else "hidden_act"]]
    epsilon = config.get("layer_norm_eps", 1e-12)

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + epsilon) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][_positions(config, ids)]
    if not distilbert:
        x = x + weights["embeddings.token_type_embeddings.weight"][types]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(layers):
        part = {key: f"{layer}.{i}.{name}" for key, name in names.items()}
        query, key, value = (np.split(linear(x, part[name]), heads, axis=-1) for name in ("query", "key", "value"))
        attended = [_attention(*head, mask) for head in zip(query, key, value, strict=True)]
        x = norm(x + linear(np.concatenate(attended, axis=-1), part["attended"]), part["attended_norm"])
        x = norm(x + linear(activation(linear(x, part["wide"])), part["narrow"]), part["narrow_norm"])
    return x


def _positions(config: dict[str, Any], ids: Array) -> Array:
    if config["model_type"] in ("bert", "distilbert"):
        return np.arange(len(ids))
    padding, position, positions = config["pad_token_id"], config["pad_token_id"], []
    for token in ids:
        position += token != padding
        positions.append(position if token != padding else padding)
    return np.array(positions)


def _attention(query: Array, key: Array, value: Array, mask: Array) -> Array:
    scores = query @ key[mask == 1].T / math.sqrt(query.shape[1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ value[mask == 1]
