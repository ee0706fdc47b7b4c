"""modules.json of a sentence-transformers directory: the modules after the transformer, as steps of a `Pipeline`.

Reads the files of sentence-transformers 2 to 6. A module, key or value that nestvec would run differently from them
raises a `ModelError` that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from nestvec.base.json_files import read_bool, read_int, read_json, read_object
from nestvec.base.optional import require
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError, ModelError
from nestvec.pipeline.steps import Dense, LayerNorm, Normalize, Pooling, Step

# The packages of the classes: up to version 5, then since.
PACKAGES = (
    "sentence_transformers.models.",
    "sentence_transformers.base.modules.",
    "sentence_transformers.sentence_transformer.modules.",
)

# The flags of older versions, in the order in which their vectors are concatenated.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

ACTIVATIONS = {
    "GELU": "gelu",
    "Identity": "identity",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
_ACTIVATION_PATH = re.compile(r"torch\.nn\.(?:modules\.(?:activation|linear)\.)?(\w+)")


class Modules(NamedTuple):
    """The modules of a directory: the transformer's folder, the steps after it, and the width of the hidden states."""

    transformer: Path
    steps: tuple[Step, ...]
    hidden_dim: int


def read_modules(directory: Path) -> Modules:
    """Reads modules.json and the folders it names: one Transformer, one Pooling, then any of the other steps."""
    path = directory / "modules.json"
    listed = read_json(path)
    if not isinstance(listed, list) or not listed:
        raise ModelError(f"{path} holds {type(listed).__name__} {listed!r:.40}; expected a list of modules")
    found = [_module(path, entry) for entry in listed]
    names = [name for name, _ in found]
    if names[:2] != ["Transformer", "Pooling"] or names.count("Transformer") > 1 or names.count("Pooling") > 1:
        raise ModelError(
            f"{path} lists the modules {', '.join(names)}; expected one Transformer, one Pooling, and after them any "
            "of Dense, LayerNorm, Normalize and Dropout"
        )
    pooling, hidden_dim = _pooling(found[1][1])
    steps: list[Step] = [pooling]
    for name, folder in found[2:]:
        if name == "Dense":
            steps.append(_dense(folder))
        elif name == "LayerNorm":
            steps.append(_layer_norm(folder))
        elif name == "Normalize":
            steps.append(_normalize(folder))
    return Modules(found[0][1], tuple(steps), hidden_dim)


def class_name(type_path: str) -> str | None:
    """The class that a type in modules.json names, or None if it is not a module of sentence-transformers.

    One class has many spellings: `sentence_transformers.models.Pooling` (of the package, or of the module in it),
    `sentence_transformers.models.Pooling.Pooling`,
    `sentence_transformers.sentence_transformer.modules.pooling.Pooling`.
    """
    for package in PACKAGES:
        if type_path.startswith(package):
            *module, name = type_path.removeprefix(package).split(".")
            if not module or [part.replace("_", "").lower() for part in module] == [name.lower()]:
                return name
    return None


def _module(path: Path, entry: object) -> tuple[str, Path]:
    """The class of an entry, and its folder."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("type", "path")):
        raise ModelError(f'{path} holds the entry {entry!r:.80}; expected an object with the strings "type" and "path"')
    name = class_name(entry["type"])
    if name not in ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"):
        reason = "is custom code, which nestvec never runs" if name is None else "nestvec does not run"
        raise ModelError(
            f"{path} names the module {entry['type']}, which {reason}; expected sentence-transformers' Transformer, "
            "Pooling, Dense, LayerNorm, Normalize or Dropout"
        )
    if entry.get("kwargs"):
        raise ModelError(f"{path} gives the module {entry['type']} the arguments {entry['kwargs']}; expected none")
    folder = entry["path"]
    if PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).anchor or ".." in PureWindowsPath(folder).parts:
        raise ModelError(f"{path} puts a module at {folder!r}, outside the model directory; expected a folder in it")
    return name, path.parent / folder


def refuse_unknown(path: Path, config: Mapping[str, Any], known: set[str]) -> None:
    """Raises `ModelError` for the first key that is not in `known`."""
    for key in config:
        if key not in known:
            raise ModelError(f"{path}: {key} is {config[key]!r:.80}; nestvec does not know this key")


def _pooling(folder: Path) -> tuple[Pooling, int]:
    path = folder / "config.json"
    config = read_object(path)
    widths = ("embedding_dimension", "word_embedding_dimension")
    refuse_unknown(path, config, {*widths, "pooling_mode", "include_prompt", *POOLING_FLAGS})
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in POOLING_FLAGS.items() if read_bool(path, config, key, False)] or ["mean"]
    elif isinstance(modes, str):
        modes = [modes]
    if not isinstance(modes, list) or not modes:
        raise ModelError(f"{path}: pooling_mode is {modes!r}; expected a name or a list of names")
    try:
        step = Pooling(tuple(modes), read_bool(path, config, "include_prompt", True))
    except ArgumentError as error:
        raise ModelError(f"{path}: {error}") from error
    return step, read_int(path, config, widths[0] if widths[0] in config else widths[1])


def _dense(folder: Path) -> Dense:
    path = folder / "config.json"
    config = read_object(path)
    known = {"in_features", "out_features", "bias", "activation_function"}
    refuse_unknown(path, config, {*known, "module_input_name", "module_output_name", "use_residual"})
    _require_sentence_embedding(path, config)
    if read_bool(path, config, "use_residual", False):
        raise ModelError(f"{path}: use_residual is true; nestvec runs Dense modules without a residual connection")
    activation = config.get("activation_function", "torch.nn.Tanh")
    match = _ACTIVATION_PATH.fullmatch(activation) if isinstance(activation, str) else None
    if match is None or match[1] not in ACTIVATIONS:
        expected = ", ".join(f"torch.nn.{name}" for name in ACTIVATIONS)
        raise ModelError(f"{path}: activation_function is {activation!r}; expected one of {expected}")
    shape = (read_int(path, config, "out_features"), read_int(path, config, "in_features"))
    with_bias = read_bool(path, config, "bias", True)
    shapes = {"linear.weight": shape, **({"linear.bias": shape[:1]} if with_bias else {})}
    tensors = _read_tensors(folder, shapes)
    return Dense(tensors["linear.weight"], tensors.get("linear.bias"), ACTIVATIONS[match[1]])


def _layer_norm(folder: Path) -> LayerNorm:
    path = folder / "config.json"
    config = read_object(path)
    refuse_unknown(path, config, {"dimension"})
    dim = read_int(path, config, "dimension")
    tensors = _read_tensors(folder, {"norm.weight": (dim,), "norm.bias": (dim,)})
    return LayerNorm(tensors["norm.weight"], tensors["norm.bias"])


def _normalize(folder: Path) -> Normalize:
    path = folder / "config.json"
    if path.exists():  # since version 6; earlier versions need not even have the folder
        config = read_object(path)
        refuse_unknown(path, config, {"module_input_name", "module_output_name"})
        _require_sentence_embedding(path, config)
    return Normalize()


def _require_sentence_embedding(path: Path, config: Mapping[str, Any]) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ModelError(f"{path}: {key} is {config[key]!r}; nestvec runs modules only on sentence_embedding")


def _read_tensors(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Reads model.safetensors, which must hold exactly the tensors of `shapes`, as float32."""
    path = folder / "model.safetensors"
    if not path.is_file():
        if (folder / "pytorch_model.bin").exists():
            raise ModelError(
                f"{folder} has its weights in pytorch_model.bin, a pickle, which nestvec never opens; convert it once, "
                'where PyTorch is installed: python -c "import sys, torch, safetensors.torch as s; '
                "s.save_file(torch.load(sys.argv[1] + '/pytorch_model.bin', weights_only=True), "
                f"sys.argv[1] + '/model.safetensors')\" {folder}"
            )
        raise ModelError(f"there is no model.safetensors in {folder}; the module needs its weights")
    safetensors = require("safetensors", "export", f"reading the weights of {folder}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            stored = {name: tuple(part.get_shape()) for name, part in slices.items()}
            if stored != dict(shapes):
                raise ModelError(f"{path} holds the tensors {stored}; expected {dict(shapes)}")
            for name, part in slices.items():
                if part.get_dtype() not in ("F16", "F32"):
                    raise ModelError(f"{path} stores {name} as {part.get_dtype()}; expected F32 or F16")
            return {name: np.asarray(file.get_tensor(name), np.float32) for name in shapes}
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} is truncated or no safetensors file ({error}); fetch the model again") from error
