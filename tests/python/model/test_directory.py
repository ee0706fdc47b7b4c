"""Model directories: the files that are used, and the choice among several lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import BERT_SPECIAL, write_bert, write_json, write_roberta, write_tokenizer

from nestvec.errors import ModelError
from nestvec.model.directory import read_model_dir
from nestvec.pipeline.steps import Normalize, Pooling


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = write_bert(tmp_path / "model", prompts={"query": "query: "}, default_prompt_name="query")
    touch(folder / "onnx" / "model.onnx")
    return folder


def test_a_directory(model: Path) -> None:
    found = read_model_dir(model)
    assert found.onnx == model / "onnx" / "model.onnx"
    assert found.tokenizer == model / "tokenizer.json"
    assert found.modules is not None
    assert found.modules.steps == (Pooling(("mean",)), Normalize())
    assert (found.prompts, found.default_prompt_name) == ({"query": "query: "}, "query")
    assert (found.max_length, found.position_limit, found.position_offset) == (32, 64, 0)
    assert (found.lower_case, found.truncate_dim) == (False, None)
    assert found.tokenizer_config["pad_token"] == "[PAD]"


def test_the_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, transformer_path="0_Transformer")
    touch(folder / "onnx" / "model.onnx")
    assert read_model_dir(folder).onnx == folder / "onnx" / "model.onnx"
    touch(folder / "0_Transformer" / "model.onnx")
    assert read_model_dir(folder).onnx == folder / "0_Transformer" / "model.onnx"
    assert read_model_dir(folder).tokenizer == folder / "0_Transformer" / "tokenizer.json"
    assert read_model_dir(folder / "onnx" / "model.onnx").max_length == 32


def test_model_onnx_before_its_variants(model: Path) -> None:
    touch(model / "model.onnx", model / "onnx" / "model_quantized.onnx", model / "onnx" / "model_O4.onnx")
    assert read_model_dir(model).onnx == model / "onnx" / "model.onnx"
    (model / "onnx" / "model.onnx").unlink()
    assert read_model_dir(model).onnx == model / "model.onnx"
    (model / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"several other ONNX files \(onnx/model_O4.onnx, onnx/model_quantized.onnx\)"):
        read_model_dir(model).onnx  # noqa: B018
    (model / "onnx" / "model_O4.onnx").unlink()
    assert read_model_dir(model).onnx == model / "onnx" / "model_quantized.onnx"
    (model / "onnx" / "model_quantized.onnx").unlink()
    assert read_model_dir(model).find_onnx() is None
    with pytest.raises(ModelError, match=f"has no ONNX file; make one with: nestvec export {model}"):
        read_model_dir(model).onnx  # noqa: B018


def test_an_onnx_file_of_a_directory_stands_for_the_directory(model: Path) -> None:
    touch(model / "onnx" / "model_O4.onnx")
    found = read_model_dir(model / "onnx" / "model_O4.onnx")
    assert found.onnx == model / "onnx" / "model_O4.onnx"
    assert found.modules is not None
    assert found.prompts == {"query": "query: "}


def test_an_onnx_file_with_a_tokenizer(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, BERT_SPECIAL, None)
    touch(tmp_path / "a.onnx", tmp_path / "onnx" / "b.onnx")
    for path in (tmp_path / "a.onnx", tmp_path / "onnx" / "b.onnx"):
        found = read_model_dir(path)
        assert (found.onnx, found.tokenizer) == (path, tmp_path / "tokenizer.json")
        assert (found.modules, found.max_length, found.position_limit) == (None, None, None)
    write_json(tmp_path / "config.json", {"model_type": "bert", "max_position_embeddings": 512})
    assert read_model_dir(tmp_path / "a.onnx").max_length == 512


def test_a_folder_below_a_model_is_no_part_of_it(model: Path) -> None:
    touch(model / "other" / "x.onnx")
    write_tokenizer(model / "other", BERT_SPECIAL, None)
    assert read_model_dir(model / "other" / "x.onnx").modules is None


def test_missing_paths_and_other_files(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no file or directory .*nowhere"):
        read_model_dir(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"config\.json is not an \.onnx file"):
        read_model_dir(model / "config.json")
    (model / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json in .*AutoTokenizer"):
        read_model_dir(model)


def lengths(model: Path, **files: dict[str, Any]) -> int | None:
    """max_length after changes to files, which are named without .json."""
    for name, content in files.items():
        write_json(model / f"{name}.json", content)
    return read_model_dir(model).max_length


def test_the_length_of_minilm(model: Path) -> None:
    bert = {"model_type": "bert", "max_position_embeddings": 512}
    assert lengths(model, config=bert, sentence_bert_config={"max_seq_length": 256}) == 256
    assert lengths(model, tokenizer_config={"model_max_length": 128}) == 256
    assert lengths(model, sentence_bert_config={"max_seq_length": None}) == 128
    assert lengths(model, sentence_bert_config={"max_seq_length": 8192}) == 512
    assert lengths(model, tokenizer_config={"model_max_length": 10**30}, sentence_bert_config={}) == 512
    assert lengths(model, tokenizer_config={"model_max_length": 1e30}) == 512
    assert lengths(model, tokenizer_config={"model_max_length": 300.0}) == 300
    assert lengths(model, config={"model_type": "bert"}) == 300
    assert lengths(model, config={"model_type": "xlnet", "max_position_embeddings": -1}) == 300
    assert lengths(model, tokenizer_config={}) is None
    assert lengths(model, sentence_bert_config={"max_seq_length": 64, "tokenizer_args": {"model_max_length": 48}}) == 48
    assert (
        lengths(model, sentence_bert_config={"max_seq_length": 64, "processor_kwargs": {"model_max_length": 40}}) == 40
    )


def test_positions_of_roberta_start_after_the_padding_id(tmp_path: Path) -> None:
    folder = write_roberta(tmp_path, max_length=9999, positions=514)
    touch(folder / "model.onnx")
    found = read_model_dir(folder)
    assert (found.max_length, found.position_limit, found.position_offset) == (512, 512, 2)


def test_other_names_of_the_transformer_settings(model: Path) -> None:
    (model / "sentence_bert_config.json").unlink()
    write_json(model / "sentence_xlm-roberta_config.json", {"max_seq_length": 20, "do_lower_case": True})
    assert (read_model_dir(model).max_length, read_model_dir(model).lower_case) == (20, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_seq_length": 0}, "max_seq_length is 0; expected a positive integer"),
        ({"max_seq_length": "256"}, "max_seq_length is '256'"),
        ({"do_lower_case": 1}, "do_lower_case is 1; expected true or false"),
        ({"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'"),
        ({"module_output_name": "sentence_embedding"}, "module_output_name"),
        ({"modality_config": {"message": {"method": "forward", "method_output_name": "x"}}}, "modality_config"),
        ({"query_expansion": {"strategy": "fixed"}}, "query_expansion"),
        ({"document_length": 300}, "document_length is 300"),
        ({"processing_kwargs": {"text": {"padding": "max_length"}}}, "processing_kwargs"),
        ({"tokenizer_args": {"add_prefix_space": True}}, "add_prefix_space is True; nestvec does not know"),
        ({"tokenizer_args": 3}, "tokenizer_args is 3"),
        ({"something_new": 1}, "something_new is 1; nestvec does not know this key"),
    ],
)
def test_settings_that_are_refused(model: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"sentence_bert_config.json: {message}"):
        lengths(model, sentence_bert_config={"max_seq_length": 16, **change})


def test_settings_as_version_6_writes_them(model: Path) -> None:
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "query_length": None,
        "document_length": None,
        "query_expansion": None,
        "model_kwargs": {},
    }
    assert lengths(model, sentence_bert_config=settings, tokenizer_config={"model_max_length": 30}) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "SparseEncoder"}, "model_type is 'SparseEncoder'"),
        ({"model_type": "CrossEncoder"}, "model_type is 'CrossEncoder'"),
        ({"prompts": ["query"]}, "prompts is"),
        ({"prompts": {"query": 3}}, "prompts is"),
        (
            {"prompts": {"query": ""}, "default_prompt_name": "document"},
            r"default_prompt_name is 'document'.*\['query'\]",
        ),
        ({"truncate_dim": -1}, "truncate_dim is -1"),
    ],
)
def test_model_settings_that_are_refused(model: Path, change: dict[str, Any], message: str) -> None:
    write_json(model / "config_sentence_transformers.json", change)
    with pytest.raises(ModelError, match=f"config_sentence_transformers.json: {message}"):
        read_model_dir(model)


def test_model_settings(model: Path) -> None:
    change = {"model_type": "SentenceTransformer", "prompts": {"query": None, "document": "d: "}, "truncate_dim": 8}
    write_json(model / "config_sentence_transformers.json", change)
    found = read_model_dir(model)
    assert (found.prompts, found.default_prompt_name, found.truncate_dim) == ({"query": "", "document": "d: "}, None, 8)
    (model / "config_sentence_transformers.json").unlink()
    assert read_model_dir(model).prompts == {}


@pytest.mark.parametrize("config", [{"max_position_embeddings": "512"}, {"model_type": "roberta", "pad_token_id": -1}])
def test_configs_that_are_refused(model: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"config\.json: (max_position_embeddings|pad_token_id) is"):
        lengths(model, config={"max_position_embeddings": 64, **config})
