"""The exporter as a whole: its files, when they appear, and the remains of failed exports."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import write_bert

import nestvec
from nestvec.base.digests import model_sha256
from nestvec.errors import ArgumentError, MissingDependencyError, ModelError
from nestvec.export import export
from nestvec.export.export import export_onnx

IDS = np.array([[2, 5, 6, 7, 8, 9, 3], [2, 40, 41, 42, 3, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])


def hidden_states(path: Path) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": np.zeros_like(IDS)}
    hidden: np.ndarray[Any, Any] = session.run(None, inputs)[0]
    return hidden


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_default_output_and_a_given_output(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "model")
    assert nestvec.export_onnx(str(folder)) == folder / "onnx" / "model.onnx"
    other = tmp_path / "new" / "folder" / "encoder.onnx"
    assert export_onnx(folder, str(other)) == other
    assert other.read_bytes() == (folder / "onnx" / "model.onnx").read_bytes()
    assert files(folder / "onnx") == ["model.onnx"]


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = export_onnx(write_bert(tmp_path / "a")), export_onnx(write_bert(tmp_path / "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() == export_onnx(tmp_path / "a", check=False).read_bytes()
    assert first.read_bytes() != export_onnx(write_bert(tmp_path / "c", seed=9)).read_bytes()


def test_metadata(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    path = export_onnx(folder)
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version) == ("nestvec", nestvec.__version__)
    weights = load_file(folder / "model.safetensors")
    facts = {"model_type": "bert", "heads": 4, "padding_id": 0, "epsilon": 1e-12, "activation": "gelu"}
    digits = model.metadata_props[-1].value.encode()
    assert {item.key: item.value for item in model.metadata_props} == {
        "producer": "nestvec",
        "version": nestvec.__version__,
        "model_type": "bert",
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "model_sha256": model_sha256(facts, weights, weights.__getitem__),
        "file_sha256": hashlib.sha256(path.read_bytes().replace(digits, b"0" * 64)).hexdigest(),
    }


def test_progress_rises_to_one(tmp_path: Path) -> None:
    reports: list[tuple[str, float]] = []
    export_onnx(write_bert(tmp_path), progress=lambda stage, fraction: reports.append((stage, fraction)))
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert reports[-1] == ("done", 1.0)
    assert list(dict.fromkeys(stage for stage, _ in reports)) == [
        "reading the weights",
        "building the graph",
        "writing the file",
        "checking the result",
        "done",
    ]


@pytest.mark.parametrize("name", ["model.bin", "model", "folder.onnx"])
def test_outputs_that_are_no_onnx_file(name: str, tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "model")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ArgumentError, match=r"expected the name of a file that ends in \.onnx"):
        export_onnx(folder, tmp_path / name)


@pytest.mark.parametrize("limit", [0, export.MAX_INLINE_BYTES], ids=["external data", "one file"])
def test_an_output_that_is_a_link(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_INLINE_BYTES", limit)
    model, out = write_bert(tmp_path / "model"), tmp_path / "out"
    (out / "other").mkdir(parents=True)
    (out / "link.onnx").symlink_to("real.onnx")
    (out / "far.onnx").symlink_to("other/real.onnx")
    assert export_onnx(model, out / "link.onnx") == out / "link.onnx"
    np.testing.assert_array_equal(hidden_states(out / "link.onnx"), hidden_states(out / "real.onnx"))
    if limit:
        export_onnx(model, out / "far.onnx")
        np.testing.assert_array_equal(hidden_states(out / "far.onnx"), hidden_states(out / "link.onnx"))
    else:  # a runtime looks for the data beside the link
        with pytest.raises(ArgumentError, match=r"far\.onnx', a link to .*; for weights of more than 2 GB"):
            export_onnx(model, out / "far.onnx")
        assert files(out / "other") == []
    assert (out / "link.onnx").is_symlink()
    assert (out / "far.onnx").is_symlink()
    assert len(files(out)) == (4 if limit else 5)


def test_an_output_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.onnx")
    with pytest.raises(OSError, match=r"a pipe \(FIFO\) is no place for a file"):
        export_onnx(tmp_path / "no model", tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").is_fifo()


def test_a_model_that_may_only_be_read_is_replaced(tmp_path: Path) -> None:
    path = export_onnx(write_bert(tmp_path / "a"))
    path.chmod(0o444)
    before = path.read_bytes()
    assert export_onnx(write_bert(tmp_path / "a", seed=3)).read_bytes() != before
    assert path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("large", [False, True])
def test_what_a_killed_export_left_is_cleared(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(export, "MAX_INLINE_BYTES", 0)
    model = write_bert(tmp_path / "model")
    for step in ("seal", "_check"):
        with monkeypatch.context() as patch:
            patch.setattr(export, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            if (child := os.fork()) == 0:
                export_onnx(model)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert len(files(model / "onnx")) == 1 + large
    export_onnx(model)
    assert len(files(model / "onnx")) == 1 + large


@pytest.mark.parametrize(("module", "extra"), [("onnx", "export"), ("safetensors", "export"), ("onnxruntime", "cpu")])
def test_a_missing_library(module: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"export needs {module}.*nestvec\[{extra}\]"):
        export_onnx(folder)


def test_without_a_check_onnxruntime_is_not_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export_onnx(folder, check=False).exists()


@pytest.mark.parametrize("large", [False, True], ids=["one file", "external data"])
@pytest.mark.parametrize("older", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("failure", ["interrupt", "full disk", "damaged weights", "padding leaks"])
def test_a_failed_export_changes_nothing(
    failure: str, older: bool, large: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if large:
        monkeypatch.setattr(export, "MAX_INLINE_BYTES", 0)
    folder = write_bert(tmp_path / "model")
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    if older:
        export_onnx(write_bert(tmp_path / "older", seed=5), target)
        expected = hidden_states(target)
    before = {path.name: path.read_bytes() for path in target.parent.iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    error: type[BaseException] = ModelError
    if failure == "interrupt":
        monkeypatch.setattr(export, "_check", interrupt)
        error = KeyboardInterrupt
    elif failure == "full disk":
        monkeypatch.setattr(os, "fsync", full)
        error = OSError
    elif failure == "damaged weights":
        weights = load_file(folder / "model.safetensors")
        weights["encoder.layer.1.output.dense.bias"][3] = np.inf
        save_file(weights, folder / "model.safetensors")
    else:
        monkeypatch.setattr("nestvec.export.graph.MASKED", 0.0)
    with pytest.raises(error) as info:
        export_onnx(folder, target)
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == before
    if older:
        np.testing.assert_array_equal(hidden_states(target), expected)
    if failure == "damaged weights":
        assert "the weights may be damaged" in str(info.value)
    if failure == "padding leaks":
        assert "padding changes a text by" in str(info.value)


def test_a_model_that_onnxruntime_cannot_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nestvec.export.graph.OPSET", 12)  # its Unsqueeze takes axes as an attribute
    folder = write_bert(tmp_path)
    with pytest.raises(ModelError, match="ONNX Runtime cannot run the exported model"):
        export_onnx(folder)
    assert files(folder / "onnx") == []


def test_weights_above_the_limit_of_protobuf_go_to_another_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inline = export_onnx(write_bert(tmp_path / "inline"))
    monkeypatch.setattr(export, "MAX_INLINE_BYTES", 0)
    path = export_onnx(write_bert(tmp_path / "model"))
    name, data = sorted(path.parent.iterdir(), key=lambda item: item.suffix)[0].name, path.read_bytes()
    digest = hashlib.sha256((path.parent / name).read_bytes()).hexdigest()[:16]
    assert files(path.parent) == ["model.onnx", f"model.onnx.{digest}.data"]
    assert len(data) < inline.stat().st_size / 5
    onnx.checker.check_model(str(path), full_check=True)
    np.testing.assert_array_equal(hidden_states(path), hidden_states(inline))
    offsets = [
        int(entry.value)
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert offsets
    assert all(offset % 4096 == 0 for offset in offsets)

    with monkeypatch.context() as failing:
        failing.setattr("nestvec.export.graph.MASKED", 0.0)
        with pytest.raises(ModelError):
            export_onnx(tmp_path / "model")
    np.testing.assert_array_equal(hidden_states(path), hidden_states(inline))
    export_onnx(tmp_path / "model")
    assert (path.read_bytes(), len(files(path.parent))) == (data, 2)
    export_onnx(write_bert(tmp_path / "model", seed=8))
    assert path.read_bytes() != data
    assert len(files(path.parent)) == 2, "the data of the model that was replaced is gone"
    monkeypatch.undo()
    export_onnx(tmp_path / "model")
    assert files(path.parent) == ["model.onnx"]
