"""Models from the Hugging Face hub, by huggingface_hub and its cache."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from nestvec.base.json_files import read_json
from nestvec.base.optional import require
from nestvec.errors import ModelError

_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "sentence_*_config.json")


def is_model_id(model: str) -> bool:
    """Whether a string looks like `owner/name`."""
    return _MODEL_ID.fullmatch(model) is not None


def fetch_model(model_id: str, revision: str | None) -> Path:
    """Downloads the files of a model that an encoder reads, unless they are in the cache; returns the folder.

    These are the JSON files, the weights of the small modules after the transformer, and one ONNX file, onnx/model.onnx
    or model.onnx; not the PyTorch weights. Raises `ModelError` if the hub has no such model or cannot be reached, and
    `MissingDependencyError` without huggingface_hub.
    """
    hub = require("huggingface_hub", "hub", f"there is no file or directory {model_id} here, and a model from the hub")

    def fetch(*patterns: str) -> Path:
        try:
            return Path(hub.snapshot_download(model_id, revision=revision, allow_patterns=list(patterns)))
        except Exception as error:  # the hub, the network and the disk raise classes without a common base
            raise ModelError(
                f"there is no file or directory {model_id} here, and the hub gave no model of that name: {error}"
            ) from error

    folder = fetch("modules.json", "config_sentence_transformers.json", *_TEXT_FILES)
    paths = _module_paths(folder / "modules.json")
    transformer = paths[0] if paths else ""
    fetch(
        *(f"{path}/{name}" for path in paths if path for name in ("config.json", "model.safetensors")),
        *(f"{transformer}/{name}" for name in _TEXT_FILES if transformer),
    )
    for onnx in dict.fromkeys((f"{transformer}/onnx/".lstrip("/"), f"{transformer}/".lstrip("/"), "onnx/", "")):
        fetch(*(f"{onnx}model.onnx{suffix}" for suffix in ("", "_data", "_data_[0-9]*", ".data")))
        if (folder / onnx / "model.onnx").exists():
            return folder
    raise ModelError(
        f"the model {model_id} on the hub has no model.onnx; download it (hf download {model_id} --local-dir DIR) and "
        "make one with: nestvec export DIR"
    )


def _module_paths(path: Path) -> list[str]:
    """The folders that modules.json names. `read_modules` checks the file in full after the download."""
    modules = read_json(path) if path.exists() else []
    entries = modules if isinstance(modules, list) else []
    paths = [entry["path"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("path"), str)]
    return [path for path in paths if ".." not in PurePosixPath(path).parts]
