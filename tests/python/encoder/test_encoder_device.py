"""Encoders on a device: the model's output and the pipeline stay on it; only the returned rows are copied back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda_session
import numpy as np
import pytest
from onnx import TensorProto
from onnx_graphs import write_graph
from tiny_models import BERT_SPECIAL, WORDS, write_bert, write_tokenizer

import nestvec as nv
from nestvec.encoder.encoder import Encoder
from nestvec.encoder.engines import onnx as onnx_model
from nestvec.errors import ArgumentError, DeviceError
from nestvec.export.export import export_onnx

needs_cuda = pytest.mark.skipif("cuda" not in nv.backends(), reason="no CUDA device, nor an emulated one")

TEXTS = [" ".join(WORDS[(7 * i + 3 * j) % len(WORDS)] for j in range(i * i % 29)) for i in range(40)]


@pytest.fixture(autouse=True)
def cuda_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "start_session", fake_cuda_session.start_session)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bert(tmp_path_factory.mktemp("models") / "bert", prompts={"query": "search query "})
    export_onnx(folder, check=False)
    return folder


def bare(tmp_path: Path, **options: Any) -> Path:
    write_tokenizer(tmp_path, BERT_SPECIAL, None)
    return write_graph(tmp_path / "x.onnx", vocab=256, **options)


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
def test_rows_equal_those_of_the_cpu(model: Path, precision: str) -> None:
    on_cpu, on_cuda = Encoder(model, device="cpu"), Encoder(model, device="cuda:1")
    on_cuda._budget = on_cpu._budget  # the same batches: a row of the model depends on them in its last bits
    for dim in (None, 20):
        options: dict[str, Any] = {"dim": dim, "precision": precision, "prompt": "query"}
        np.testing.assert_array_equal(on_cuda.encode(TEXTS, **options), on_cpu.encode(TEXTS, **options))
    assert on_cuda.encode([]).shape == (0, on_cuda.dim)
    assert on_cuda.fingerprint == on_cpu.fingerprint


@needs_cuda
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken", ("max", "weightedmean")])
@pytest.mark.parametrize("floats", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_hidden_states_of_a_plain_graph(tmp_path: Path, pooling: Any, floats: int) -> None:
    path = bare(tmp_path, floats=floats, fixed_dim=False)
    on_cpu, on_cuda = (Encoder(path, max_length=16, pooling=pooling, device=device) for device in ("cpu", "cuda"))
    on_cuda._budget = on_cpu._budget
    np.testing.assert_array_equal(on_cuda.encode(TEXTS), on_cpu.encode(TEXTS))


@needs_cuda
def test_a_graph_that_pools(tmp_path: Path) -> None:
    path = bare(tmp_path, output="sentence_embedding")
    on_cpu, on_cuda = Encoder(path, max_length=16, device="cpu"), Encoder(path, max_length=16, device="cuda")
    np.testing.assert_array_equal(on_cuda.encode(TEXTS, dim=5), on_cpu.encode(TEXTS, dim=5))
    assert isinstance(on_cuda._engine.run(np.ones((2, 3), np.int64), np.ones((2, 3), np.int64)), nv.DeviceArray)


@needs_cuda
def test_an_output_on_another_device(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(model, device="cuda")
    monkeypatch.setattr(fake_cuda_session.FakeOrtValue, "data_ptr", lambda _: np.zeros(1 << 16).ctypes.data)
    with pytest.raises(ArgumentError, match=r"the output last_hidden_state says .* of cuda:0, and it is of no CUDA"):
        encoder.encode("a cat")


@pytest.mark.skipif("cuda" in nv.backends(), reason="this nestvec can use CUDA, or an emulated device")
def test_a_cuda_provider_with_a_nestvec_without_cuda(model: Path) -> None:
    with pytest.raises(DeviceError, match='device is "cuda:1"'):
        Encoder(model, device="cuda:1")
