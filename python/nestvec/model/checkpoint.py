"""BERT-family model directories, as the exporter reads them: config.json, and weights in safetensors files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np

from nestvec.base.json_files import read_json
from nestvec.errors import ModelError

MAX_LISTED = 6  # tensors that a message names; it counts the rest

# Tensors that do not affect the hidden states: heads on top of the encoder, and position_ids (0, 1, 2, ...), which old
# versions of transformers stored.
HEADS = re.compile(
    r"(cls|lm_head|classifier|pre_classifier|qa_outputs|vocab_transform|vocab_layer_norm|vocab_projector|pooler)\..*"
    r"|embeddings\.(position_ids|token_type_ids)"
)
DTYPES = ("F32", "F16", "BF16")

# transformers' names and their formulas, the Gaussian ones by Hendrycks and Gimpel 2016. Names with the same formula
# differ only in rounding.
ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), "gelu_tanh"),
    **dict.fromkeys(("silu", "swish"), "silu"),
    "relu": "relu",
}


@dataclass(frozen=True)
class Layout:
    """The tensor names and config keys of a family of checkpoints; the defaults are BERT's."""

    prefix: str = "bert."  # before every name, if the checkpoint was saved with a head
    layer: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    feed_forward_input: str = "intermediate.dense"
    feed_forward_output: str = "output.dense"
    feed_forward_norm: str = "output.LayerNorm"
    hidden_key: str = "hidden_size"
    layers_key: str = "num_hidden_layers"
    heads_key: str = "num_attention_heads"
    intermediate_key: str = "intermediate_size"
    activation_key: str = "hidden_act"
    epsilon_key: str | None = "layer_norm_eps"  # DistilBERT's is always 1e-12
    token_types_key: str | None = "type_vocab_size"
    padding_positions: bool = False  # positions count the tokens that are not padding, from padding_id + 1


ROBERTA = Layout(prefix="roberta.", padding_positions=True)
DISTILBERT = Layout(
    prefix="distilbert.",
    layer="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    feed_forward_input="ffn.lin1",
    feed_forward_output="ffn.lin2",
    feed_forward_norm="output_layer_norm",
    hidden_key="dim",
    layers_key="n_layers",
    heads_key="n_heads",
    intermediate_key="hidden_dim",
    activation_key="activation",
    epsilon_key=None,
    token_types_key=None,
)
LAYOUTS = {
    "bert": Layout(),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": DISTILBERT,
}

# Keys of config.json that change what the model computes: the value that the graph implements, the effect of others.
PLAIN_VALUES: dict[str, tuple[object, str]] = {
    "position_embedding_type": ("absolute", "relative positions change every attention score"),
    "is_decoder": (False, "a decoder sees only the tokens before its own"),
    "is_encoder_decoder": (False, "half of the model would be left out"),
    "add_cross_attention": (False, "cross-attention needs a second input"),
    "pruned_heads": ({}, "layers with pruned heads have their own shapes"),
    "quantization_config": (None, "quantized weights need their own operators"),
    "auto_map": ({}, "the model brings Python code of its own, which may compute anything"),
}


@dataclass(frozen=True)
class Architecture:
    """The checked contents of config.json."""

    model_type: str
    layout: Layout
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocab: int
    positions: int
    token_types: int  # 0 if the layout has none
    padding_id: int
    epsilon: float
    activation: str  # one of ACTIVATIONS' values

    @property
    def max_tokens(self) -> int:
        """The longest sequence that has positions, special tokens included."""
        return self.positions - (self.padding_id + 1 if self.layout.padding_positions else 0)

    def facts(self) -> dict[str, Any]:
        """The settings that affect the hidden states, besides the tensors; docs/format.md defines their names."""
        names = ("model_type", "heads", "padding_id", "epsilon", "activation")
        return {name: getattr(self, name) for name in names}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that the checkpoint must have, by names without the prefix."""
        layout, hidden, wide = self.layout, self.hidden, self.intermediate
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocab, hidden),
            "embeddings.position_embeddings.weight": (self.positions, hidden),
        }
        if self.token_types:
            shapes["embeddings.token_type_embeddings.weight"] = (self.token_types, hidden)
        linears = {
            layout.query: (hidden, hidden),
            layout.key: (hidden, hidden),
            layout.value: (hidden, hidden),
            layout.attention_output: (hidden, hidden),
            layout.feed_forward_input: (wide, hidden),
            layout.feed_forward_output: (hidden, wide),
        }
        norms = ["embeddings.LayerNorm"]
        for i in range(self.layers):
            for name, shape in linears.items():
                shapes[f"{layout.layer}.{i}.{name}.weight"] = shape
                shapes[f"{layout.layer}.{i}.{name}.bias"] = shape[:1]
            norms += [f"{layout.layer}.{i}.{layout.attention_norm}", f"{layout.layer}.{i}.{layout.feed_forward_norm}"]
        for name in norms:
            shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (hidden,)
        return shapes


def transformer_folder(model_dir: Path) -> Path:
    """The folder of the transformer: from modules.json, or `model_dir` without one. Raises `ModelError`."""
    if not model_dir.is_dir():
        raise ModelError(f"there is no directory {model_dir}; export needs one with config.json and model.safetensors")
    modules_path = model_dir / "modules.json"
    if not modules_path.exists():
        return model_dir
    modules = read_json(modules_path)
    try:
        paths = {str(module["type"]).rpartition(".")[2]: module["path"] for module in reversed(modules)}
        path = PurePosixPath(paths["Transformer"])
    except (KeyError, TypeError):
        raise ModelError(
            f"{modules_path} names no module of a type that ends in .Transformer with its path; export turns the "
            "transformer of a sentence-transformers directory into ONNX, and supports no other encoder"
        ) from None
    if path.is_absolute() or ".." in path.parts or set("\\:") & set(str(path)):
        raise ModelError(f"{modules_path} puts the transformer at {str(path)!r}, outside the model directory")
    return model_dir / path


def read_architecture(folder: Path) -> Architecture:
    """Reads and checks config.json. Raises `ModelError` for every model that the graph would compute wrongly."""
    path = folder / "config.json"
    config = read_json(path)
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds {type(config).__name__}, expected a JSON object")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in LAYOUTS:
        raise ModelError(
            f"{path}: model_type is {model_type!r}; expected one of {', '.join(LAYOUTS)}. For another "
            "architecture use an ONNX file made by its own exporter, for example optimum's"
        )
    for key, (plain, reason) in PLAIN_VALUES.items():
        value = config.get(key)
        if value is not None and value != plain:
            raise ModelError(f"{path}: {key} is {value!r}, expected {plain!r} or no such key: {reason}")
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} has an adapter (adapter_config.json); merge it into the weights before the export")
    layout = LAYOUTS[model_type]
    architecture = Architecture(
        model_type=model_type,
        layout=layout,
        hidden=_integer(path, config, layout.hidden_key),
        layers=_integer(path, config, layout.layers_key, limit=1000),
        heads=_integer(path, config, layout.heads_key),
        intermediate=_integer(path, config, layout.intermediate_key),
        vocab=_integer(path, config, "vocab_size", least=2),
        # At least 2: a single position would be broadcast to any length.
        positions=_integer(path, config, "max_position_embeddings", least=2),
        token_types=_integer(path, config, layout.token_types_key) if layout.token_types_key else 0,
        padding_id=_integer(
            path, {"pad_token_id": 1 if layout.padding_positions else 0, **config}, "pad_token_id", least=0
        ),
        epsilon=_epsilon(path, config, layout.epsilon_key) if layout.epsilon_key else 1e-12,
        activation=_activation(path, config, layout.activation_key),
    )
    if architecture.hidden % architecture.heads:
        raise ModelError(
            f"{path}: {layout.hidden_key} {architecture.hidden} is not a multiple of {layout.heads_key} "
            f"{architecture.heads}"
        )
    if architecture.padding_id >= architecture.vocab or architecture.max_tokens < 1:
        raise ModelError(
            f"{path}: pad_token_id {architecture.padding_id} does not fit a vocabulary of {architecture.vocab} and "
            f"{architecture.positions} positions"
        )
    return architecture


def _integer(path: Path, config: Mapping[str, Any], key: str, least: int = 1, limit: int = 1 << 24) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= limit:
        raise ModelError(f"{path}: {key} is {value!r}; expected an integer from {least} to {limit:,}")
    return value


def _epsilon(path: Path, config: Mapping[str, Any], key: str) -> float:
    value = config.get(key, 1e-12)
    if not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ModelError(f"{path}: {key} is {value!r}; expected a small positive number")
    return float(value)


def _activation(path: Path, config: Mapping[str, Any], key: str) -> str:
    value = config.get(key, "gelu")
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ModelError(f"{path}: {key} is {value!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[value]


class Checkpoint:
    """The weights of a model, in one or several safetensors files, by names without the prefix.

    Opening checks names, shapes and dtypes against the architecture. `tensor` reads on demand.
    """

    def __init__(self, folder: Path, architecture: Architecture) -> None:
        self._stack = ExitStack()
        self.paths, places = _find_files(folder)
        try:
            files = {path: self._open(path) for path in self.paths}
            self._places: dict[str, tuple[Any, Path, str]] = {}
            for path in self.paths:
                names = files[path].keys() if places is None else [name for name in places if places[name] == path]
                self._add(files[path], path, names, architecture.layout.prefix)
            self._check(folder, architecture)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def tensor(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Reads a tensor as float32; float16 and bfloat16 are widened exactly."""
        file, path, stored = self._places[name]
        if file.get_slice(stored).get_dtype() == "BF16":
            return _read_bfloat16(path, stored)
        return np.asarray(file.get_tensor(stored), dtype=np.float32)

    def sha256(self, on_bytes: Callable[[int], None]) -> str:
        """The SHA-256 of the weight files, concatenated in the order of their names."""
        digest = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
                    on_bytes(len(block))
        return digest.hexdigest()

    def _open(self, path: Path) -> Any:
        import safetensors

        try:
            return self._stack.enter_context(safetensors.safe_open(path, framework="numpy"))
        except (OSError, safetensors.SafetensorError) as error:
            raise ModelError(
                f"{path} is missing, truncated or no safetensors file ({error}); fetch the model again"
            ) from error

    def _add(self, file: Any, path: Path, names: Any, prefix: str) -> None:
        stored = set(file.keys())
        for name in names:
            if name not in stored:
                raise ModelError(f"{path} has no tensor {name}, although the index lists it; fetch the model again")
            # TensorFlow's BERT has LayerNorm.gamma and .beta; transformers renames them too.
            plain = name.removeprefix(prefix)
            plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
            if HEADS.fullmatch(plain):
                continue
            if plain in self._places:
                raise ModelError(f"{path} holds {plain} twice: as {self._places[plain][2]} and as {name}")
            self._places[plain] = (file, path, name)

    def _check(self, folder: Path, architecture: Architecture) -> None:
        expected = architecture.shapes()
        wrong = []
        for name, (file, _, stored) in self._places.items():
            view = file.get_slice(stored)
            dtype, shape = str(view.get_dtype()), tuple(view.get_shape())
            if name not in expected:
                wrong.append(f"{stored} {shape}, not in this architecture")
            elif dtype not in DTYPES:
                wrong.append(f"{stored} of type {dtype}, expected {', '.join(DTYPES)}")
            elif shape != expected[name]:
                wrong.append(f"{stored} {shape}, expected {expected[name]}")
        wrong += [f"no {name}, expected {shape}" for name, shape in expected.items() if name not in self._places]
        if wrong:
            more = f", and {len(wrong) - MAX_LISTED} more" if len(wrong) > MAX_LISTED else ""
            raise ModelError(
                f"the weights in {folder} are not those of a {architecture.model_type} model with this config.json: "
                f"{'; '.join(wrong[:MAX_LISTED])}{more}. Check that both files belong to the same plain model"
            )


def _find_files(folder: Path) -> tuple[list[Path], dict[str, Path] | None]:
    """The weight files in the order of their names, and the file of each tensor if the model is sharded."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single], None
    if not index.exists():
        found = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "no other weights"
        raise ModelError(
            f"there is no model.safetensors in {folder} ({found}). Pickled weights are never opened: save the model "
            "again with transformers' save_pretrained, which writes safetensors"
        )
    weights = read_json(index)
    places = weights.get("weight_map") if isinstance(weights, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index} has no weight_map from tensor names to file names")
    names = sorted(set(places.values()))
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.safetensors", name, re.ASCII):
            raise ModelError(f"{index} names the file {name!r}; expected a .safetensors file beside it")
    return [folder / name for name in names], {tensor: folder / name for tensor, name in places.items()}


def _read_bfloat16(path: Path, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Reads a bfloat16 tensor as float32: its bits are the upper halves.

    safetensors' numpy interface cannot, as numpy has no bfloat16. The library checked header and offsets on opening.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(header_bytes))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + header_bytes + begin)
        upper = np.frombuffer(file.read(end - begin), dtype="<u2")
    bits = upper.astype(np.uint32) << np.uint32(16)
    widened: np.ndarray[Any, np.dtype[np.float32]] = bits.view(np.float32).reshape(entry["shape"])
    return widened
