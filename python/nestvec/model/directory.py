"""Model directories: their files, and their settings of lengths, prompts and pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nestvec.base.json_files import read_bool, read_int, read_object
from nestvec.errors import ModelError
from nestvec.model.modules import Modules, read_modules, refuse_unknown

# The names of the file with the transformer's settings; sentence-transformers takes the first that exists.
_SETTINGS_NAMES = [
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]

# Positions of these model types start after the padding id, so the table has pad_token_id + 1 rows that no text uses.
_PADDED_POSITIONS = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}

_UNSET_LENGTH = 10**9  # a tokenizer without a limit writes 10**30


@dataclass(frozen=True)
class ModelDir:
    """The contents of a model directory.

    directory, transformer: the directory, and the folder of its transformer.
    given: the ONNX file, if the model was given by its path.
    tokenizer: the path of tokenizer.json.
    modules: the contents of modules.json; None without one.
    prompts, default_prompt_name, truncate_dim: from config_sentence_transformers.json. truncate_dim is the number of
    dimensions to keep.
    max_length: the limit on a text's tokens, special tokens included; longer texts are cut. None if no file gives one.
    position_limit: the number of tokens that the position table holds; None if the model has none.
    position_offset: the position of a text's first token.
    lower_case: whether to put text in lower case before the tokenizer's rules apply.
    tokenizer_config: tokenizer_config.json, overridden by the model's tokenizer arguments.
    """

    directory: Path
    transformer: Path
    given: Path | None
    tokenizer: Path
    modules: Modules | None
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    truncate_dim: int | None
    max_length: int | None
    position_limit: int | None
    position_offset: int
    lower_case: bool
    tokenizer_config: Mapping[str, Any]

    @property
    def onnx(self) -> Path:
        """The ONNX file. Raises `ModelError` if the directory has none, or several and no model.onnx."""
        found = self.given or self.find_onnx()
        if found is None:
            raise ModelError(f"{self.directory} has no ONNX file; make one with: nestvec export {self.directory}")
        return found

    @property
    def has_checkpoint(self) -> bool:
        """Whether the transformer's folder has config.json and weights in safetensors files."""
        names = ("model.safetensors", "model.safetensors.index.json")
        return (self.transformer / "config.json").is_file() and any((self.transformer / n).is_file() for n in names)

    def find_onnx(self) -> Path | None:
        """model.onnx in the first folder that has one, else the only ONNX file of all folders; None without any."""
        folders = [self.transformer / "onnx", self.transformer, self.directory / "onnx", self.directory]
        for folder in folders:
            if (folder / "model.onnx").is_file():
                return folder / "model.onnx"
        others = sorted({path for folder in folders for path in folder.glob("*.onnx")})
        if len(others) > 1:
            names = ", ".join(str(path.relative_to(self.directory)) for path in others)
            raise ModelError(
                f"{self.directory} has no model.onnx but several other ONNX files ({names}); give the path of one"
            )
        return others[0] if others else None


def read_model_dir(path: Path) -> ModelDir:
    """Reads a sentence-transformers directory, another directory with tokenizer.json, or an ONNX file in one.

    An ONNX file in the transformer's folder of a sentence-transformers directory, or in its onnx folder, stands for
    that directory, with this file in place of model.onnx.

    Raises `ModelError` for files that are missing, cannot be read, or that nestvec would run differently from
    sentence-transformers.
    """
    if path.is_dir():
        return _read(path, None)
    if not path.is_file():
        raise ModelError(f"there is no file or directory {path}; expected a model directory or an ONNX file")
    if path.suffix != ".onnx":
        raise ModelError(f"{path} is not an .onnx file; expected a model directory or an ONNX file")
    for directory in path.absolute().parents[:3]:
        if (directory / "modules.json").is_file():
            transformer = read_modules(directory).transformer
            if path.absolute().parent in (directory, directory / "onnx", transformer, transformer / "onnx"):
                return _read(directory, path)
    beside = path.absolute().parent
    return _read(beside if beside.name != "onnx" or (beside / "tokenizer.json").is_file() else beside.parent, path)


def _read(directory: Path, onnx: Path | None) -> ModelDir:
    modules = read_modules(directory) if (directory / "modules.json").is_file() else None
    folder = modules.transformer if modules else directory
    model_config_path = directory / "config_sentence_transformers.json"
    model_config = _optional_object(model_config_path)
    if (kind := model_config.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        raise ModelError(f"{model_config_path}: model_type is {kind!r}; nestvec runs only SentenceTransformer models")
    prompts, default_prompt_name = _prompts(model_config_path, model_config)
    settings_path, settings = _settings(folder)
    tokenizer_arguments = _tokenizer_arguments(settings_path, settings)
    config_path, tokenizer_config_path = folder / "config.json", folder / "tokenizer_config.json"
    config, tokenizer_config = _optional_object(config_path), _optional_object(tokenizer_config_path)
    offset = _position_offset(config_path, config)
    limit = _position_limit(config_path, config, offset)
    # all-MiniLM-L6-v2 has 256 in sentence_bert_config.json, 512 in tokenizer_config.json, and 128 in tokenizer.json,
    # where it is an accident of saving. 256 is right.
    lengths = (
        _optional_int(settings_path, tokenizer_arguments, "model_max_length"),
        _optional_int(settings_path, settings, "max_seq_length"),
        _optional_int(tokenizer_config_path, tokenizer_config, "model_max_length"),
    )
    max_length = next((length for length in lengths if length is not None and length < _UNSET_LENGTH), None)
    return ModelDir(
        directory=directory,
        transformer=folder,
        given=onnx,
        tokenizer=_find_tokenizer(folder),
        modules=modules,
        prompts=prompts,
        default_prompt_name=default_prompt_name,
        truncate_dim=_optional_int(model_config_path, model_config, "truncate_dim"),
        max_length=min((n for n in (max_length, limit) if n is not None), default=None),
        position_limit=limit,
        position_offset=offset,
        lower_case=read_bool(settings_path, settings, "do_lower_case", False),
        tokenizer_config={**tokenizer_config, **tokenizer_arguments},
    )


def _find_tokenizer(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"there is no tokenizer.json in {folder}; where transformers is installed, make it: python -c 'import sys, "
            "transformers as t; t.AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])' "
            f"{folder}"
        )
    return path


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Reads sentence_bert_config.json, under any of its names. Raises `ModelError` for those that nestvec lacks."""
    path = next((path for name in _SETTINGS_NAMES if (path := folder / name).is_file()), folder / _SETTINGS_NAMES[0])
    settings = _optional_object(path)
    followed = {"max_seq_length", "do_lower_case", "tokenizer_args", "processor_kwargs"}
    # How PyTorch loads the transformer (fixed in the ONNX file) and lays out batches (Encoder's own choice).
    without_effect = {"model_args", "model_kwargs", "config_args", "config_kwargs", "unpad_inputs"}
    plain: dict[str, tuple[object, ...]] = {
        "transformer_task": ("feature-extraction",),
        "module_output_name": ("token_embeddings",),
        "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
        "processing_kwargs": (None, {}),
        "query_expansion": (None,),
        "query_length": (None,),
        "document_length": (None,),
    }
    refuse_unknown(path, settings, {*followed, *without_effect, *plain})
    for key, accepted in plain.items():
        if key in settings and settings[key] not in accepted:
            raise ModelError(f"{path}: {key} is {settings[key]!r:.120}; nestvec runs only {accepted[-1]!r}")
    return path, settings


def _tokenizer_arguments(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for key in ("tokenizer_args", "processor_kwargs"):
        given = settings.get(key) or {}
        if not isinstance(given, dict):
            raise ModelError(f"{path}: {key} is {given!r:.80}; expected an object")
        refuse_unknown(path, given, {"model_max_length", "padding_side", "use_fast", "trust_remote_code"})
        arguments |= given
    return arguments


def _prompts(path: Path, config: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(text is None or isinstance(text, str) for text in prompts.values()):
        raise ModelError(f"{path}: prompts is {prompts!r:.120}; expected an object of strings")
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ModelError(f"{path}: default_prompt_name is {default!r}; expected one of prompts: {list(prompts)}")
    return {name: text or "" for name, text in prompts.items()}, default


def _position_offset(path: Path, config: Mapping[str, Any]) -> int:
    if config.get("model_type") not in _PADDED_POSITIONS:
        return 0
    padding_id = config.get("pad_token_id", 1)
    if not isinstance(padding_id, int) or padding_id < 0:
        raise ModelError(f"{path}: pad_token_id is {padding_id!r}; expected 0 or more")
    return padding_id + 1


def _position_limit(path: Path, config: Mapping[str, Any], offset: int) -> int | None:
    """The tokens that fit max_position_embeddings; None for -1, which XLNet writes for no limit."""
    if config.get("max_position_embeddings") in (None, -1):
        return None
    return read_int(path, config, "max_position_embeddings") - offset


def _optional_object(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}


def _optional_int(path: Path, config: Mapping[str, Any], key: str) -> int | None:
    """A positive integer, or None without the key. Tokenizers sometimes write 10**30 as a float."""
    value = config.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else read_int(path, {key: value}, key)
