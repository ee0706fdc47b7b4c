"""Writes tiny sentence-transformers directories with random weights, one function per layout.

    directory = write_bert(tmp_path / "model", pooling_mode="cls", max_length=16)

Keywords that a writer does not name go to `write_sentence_transformers`: pooling_mode, normalize, max_length, prompts,
default_prompt_name. Every writer makes config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
modules.json, 1_Pooling/config.json, sentence_bert_config.json and config_sentence_transformers.json, and returns the
directory. The same arguments give the same weights. The tokenizer is WordPiece over the words and letters below, so
the tokens of a lower-case ASCII text can be counted by hand: 1 for a known word, 1 per letter for an unknown word,
and 2 more around the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file

WORDS = [
    *("the", "weather", "is", "lovely", "today", "it", "s", "so", "sunny", "outside", "he", "drove", "to", "stadium"),
    *("a", "cat", "sat", "on", "mat", "how", "do", "i", "parse", "date", "from", "string", "open", "file", "read"),
    *("write", "search", "table", "query", "document", "binary", "vector", "number", "list", "python"),
]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-:"
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}

Weights = dict[str, np.ndarray[Any, Any]]


def vocabulary(special: tuple[str, ...], size: int | None = None) -> list[str]:
    """The special tokens, then words, letters and letter continuations; filled up or cut to `size`."""
    letters = [letter for letter in LETTERS if letter not in WORDS]
    tokens = [*special, *WORDS, *letters, *(f"##{letter}" for letter in LETTERS)]
    size = len(tokens) if size is None else size
    return [*tokens[:size], *(f"unused{i}" for i in range(size - len(tokens)))]


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def write_tokenizer(directory: Path, special: tuple[str, ...], vocab: int | None, padding_side: str = "right") -> int:
    """Writes tokenizer.json and tokenizer_config.json; returns the vocabulary size."""
    tokens = vocabulary(special, vocab)
    ids = {token: i for i, token in enumerate(tokens)}
    if special == BERT_SPECIAL:
        pad, unknown, first, last, mask = BERT_SPECIAL
    else:
        first, pad, last, unknown, mask = ROBERTA_SPECIAL
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
    )
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": pad,
            "unk_token": unknown,
            "cls_token": first,
            "sep_token": last,
            "mask_token": mask,
            "padding_side": padding_side,
        },
    )
    return len(tokens)


def write_sentence_transformers(
    directory: Path,
    *,
    hidden: int,
    pooling_mode: str = "mean",
    normalize: bool = True,
    max_length: int = 32,
    transformer_path: str = "",
    prompts: Mapping[str, str] | None = None,
    default_prompt_name: str | None = None,
) -> None:
    """Writes modules.json and the modules that it names, except for the transformer."""
    modules = [(transformer_path, "Transformer"), ("1_Pooling", "Pooling")]
    if normalize:
        modules.append(("2_Normalize", "Normalize"))
    write_json(
        directory / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
    )
    pooling: dict[str, object] = {"word_embedding_dimension": hidden}
    for mode, key in POOLING_KEYS.items():
        pooling[key] = mode == pooling_mode
    write_json(directory / "1_Pooling" / "config.json", pooling)
    write_json(
        directory / transformer_path / "sentence_bert_config.json",
        {"max_seq_length": max_length, "do_lower_case": False},
    )
    write_json(
        directory / "config_sentence_transformers.json",
        {"prompts": dict(prompts or {}), "default_prompt_name": default_prompt_name, "similarity_fn_name": "cosine"},
    )


class _Random:
    """Tensors as a trained model has them: distinct biases and layer-norm weights, outputs of order one."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.weights: Weights = {}

    def normal(self, name: str, *shape: int, scale: float, offset: float = 0.0) -> None:
        self.weights[name] = (offset + scale * self.rng.standard_normal(shape)).astype(np.float32)

    def linear(self, name: str, out: int, into: int) -> None:
        self.normal(f"{name}.weight", out, into, scale=1.5 / np.sqrt(into))
        self.normal(f"{name}.bias", out, scale=0.2)

    def layer_norm(self, name: str, dim: int) -> None:
        self.normal(f"{name}.weight", dim, scale=0.2, offset=1.0)
        self.normal(f"{name}.bias", dim, scale=0.2)


def bert_weights(
    *, hidden: int, layers: int, intermediate: int, vocab: int, positions: int, types: int, seed: int
) -> Weights:
    """Weights under the names that BertModel and RobertaModel share, without a prefix."""
    random = _Random(seed)
    random.normal("embeddings.word_embeddings.weight", vocab, hidden, scale=0.5)
    random.normal("embeddings.position_embeddings.weight", positions, hidden, scale=0.3)
    random.normal("embeddings.token_type_embeddings.weight", types, hidden, scale=0.3)
    random.layer_norm("embeddings.LayerNorm", hidden)
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            random.linear(f"{layer}.attention.self.{name}", hidden, hidden)
        random.linear(f"{layer}.attention.output.dense", hidden, hidden)
        random.layer_norm(f"{layer}.attention.output.LayerNorm", hidden)
        random.linear(f"{layer}.intermediate.dense", intermediate, hidden)
        random.linear(f"{layer}.output.dense", hidden, intermediate)
        random.layer_norm(f"{layer}.output.LayerNorm", hidden)
    return random.weights


def distilbert_weights(
    *, hidden: int, layers: int, intermediate: int, vocab: int, positions: int, seed: int
) -> Weights:
    """Weights under DistilBertModel's names, without a prefix."""
    random = _Random(seed)
    random.normal("embeddings.word_embeddings.weight", vocab, hidden, scale=0.5)
    random.normal("embeddings.position_embeddings.weight", positions, hidden, scale=0.3)
    random.layer_norm("embeddings.LayerNorm", hidden)
    for i in range(layers):
        layer = f"transformer.layer.{i}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            random.linear(f"{layer}.attention.{name}", hidden, hidden)
        random.layer_norm(f"{layer}.sa_layer_norm", hidden)
        random.linear(f"{layer}.ffn.lin1", intermediate, hidden)
        random.linear(f"{layer}.ffn.lin2", hidden, intermediate)
        random.layer_norm(f"{layer}.output_layer_norm", hidden)
    return random.weights


def save_weights(directory: Path, weights: Weights, *, prefix: str = "") -> None:
    save_file({prefix + name: value for name, value in weights.items()}, directory / "model.safetensors")


def write_bert(
    directory: Path,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 64,
    vocab: int | None = None,
    positions: int = 64,
    activation: str = "gelu",
    prefix: str = "",
    seed: int = 0,
    padding_side: str = "right",
    transformer_path: str = "",
    **modules: Any,
) -> Path:
    """The BERT (and MiniLM) layout: absolute positions, two token types, [CLS] text [SEP], padding id 0."""
    folder = directory / transformer_path
    folder.mkdir(parents=True, exist_ok=True)
    vocab = write_tokenizer(folder, BERT_SPECIAL, vocab, padding_side)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "hidden_act": activation,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": positions,
        "type_vocab_size": 2,
        "vocab_size": vocab,
        "pad_token_id": 0,
    }
    write_json(folder / "config.json", config)
    weights = bert_weights(
        hidden=hidden, layers=layers, intermediate=intermediate, vocab=vocab, positions=positions, types=2, seed=seed
    )
    save_weights(folder, weights, prefix=prefix)
    write_sentence_transformers(directory, hidden=hidden, transformer_path=transformer_path, **modules)
    return directory


def write_roberta(
    directory: Path,
    *,
    model_type: str = "xlm-roberta",
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 64,
    vocab: int | None = None,
    positions: int = 66,
    activation: str = "gelu",
    prefix: str = "",
    seed: int = 1,
    padding_side: str = "right",
    **modules: Any,
) -> Path:
    """The RoBERTa, XLM-R and CamemBERT layout: positions from padding id 1, one token type, <s> text </s>."""
    directory.mkdir(parents=True, exist_ok=True)
    vocab = write_tokenizer(directory, ROBERTA_SPECIAL, vocab, padding_side)
    config = {
        "architectures": ["XLMRobertaModel"],
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": positions,
        "type_vocab_size": 1,
        "vocab_size": vocab,
        "pad_token_id": 1,
    }
    write_json(directory / "config.json", config)
    weights = bert_weights(
        hidden=hidden, layers=layers, intermediate=intermediate, vocab=vocab, positions=positions, types=1, seed=seed
    )
    save_weights(directory, weights, prefix=prefix)
    write_sentence_transformers(directory, hidden=hidden, **modules)
    return directory


def write_distilbert(
    directory: Path,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 64,
    vocab: int | None = None,
    positions: int = 64,
    activation: str = "gelu",
    prefix: str = "",
    seed: int = 2,
    padding_side: str = "right",
    **modules: Any,
) -> Path:
    """The DistilBERT layout: absolute positions, no token types, [CLS] text [SEP], padding id 0."""
    directory.mkdir(parents=True, exist_ok=True)
    vocab = write_tokenizer(directory, BERT_SPECIAL, vocab, padding_side)
    config = {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "dim": hidden,
        "n_layers": layers,
        "n_heads": heads,
        "hidden_dim": intermediate,
        "activation": activation,
        "max_position_embeddings": positions,
        "vocab_size": vocab,
        "pad_token_id": 0,
        "sinusoidal_pos_embds": False,
    }
    write_json(directory / "config.json", config)
    weights = distilbert_weights(
        hidden=hidden, layers=layers, intermediate=intermediate, vocab=vocab, positions=positions, seed=seed
    )
    save_weights(directory, weights, prefix=prefix)
    write_sentence_transformers(directory, hidden=hidden, **modules)
    return directory
