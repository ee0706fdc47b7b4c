"""Sessions: inputs and outputs by name, devices, and digests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from onnx_graphs import table, write_graph
from tiny_models import write_bert

from nestvec.base.digests import sha256_of
from nestvec.encoder.engines.onnx import OnnxEngine
from nestvec.errors import ArgumentError, DeviceError, ModelError
from nestvec.export import export, graph
from nestvec.export.export import export_onnx

IDS = np.array([[5, 6, 7], [8, 9, 0]])
MASK = np.array([[1, 1, 1], [1, 1, 0]])


def load(path: Path, device: str = "cpu", position_offset: int = 0) -> OnnxEngine:
    return OnnxEngine(path, device=device, threads=1, position_offset=position_offset)


@pytest.mark.parametrize("integers", [TensorProto.INT64, TensorProto.INT32])
@pytest.mark.parametrize("inputs", [("input_ids",), ("attention_mask", "input_ids"), ("token_type_ids", "input_ids")])
def test_inputs_by_name_and_width(tmp_path: Path, inputs: tuple[str, ...], integers: int) -> None:
    model = load(write_graph(tmp_path / "model.onnx", inputs=inputs, integers=integers))
    np.testing.assert_array_equal(model.run(IDS, MASK), table(128, 8)[IDS])
    assert (model.pools, model.dim) == (False, 8)


@pytest.mark.parametrize("offset", [0, 2])
def test_positions_start_at_the_offset(tmp_path: Path, offset: int) -> None:
    path = write_graph(tmp_path / "model.onnx", inputs=("input_ids", "attention_mask", "position_ids"))
    found = load(path, position_offset=offset).run(IDS, MASK)
    positions = np.arange(3)[None, :, None] + offset
    np.testing.assert_allclose(found[0], (table(128, 8)[IDS] + 0.1 * positions)[0], rtol=1e-6)
    np.testing.assert_allclose(found[1, :2], (table(128, 8)[IDS] + 0.1 * positions)[1, :2], rtol=1e-6)


def test_positions_of_a_left_padded_batch_start_at_the_text(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", inputs=("input_ids", "position_ids"))
    found = load(path).run(np.array([[0, 8, 9]]), np.array([[0, 1, 1]]))
    np.testing.assert_allclose(found[0, 1:], table(128, 8)[[8, 9]] + [[0.0], [0.1]], rtol=1e-6)


def test_a_finished_vector_half_precision_and_a_width_that_is_not_fixed(tmp_path: Path) -> None:
    model = load(write_graph(tmp_path / "a.onnx", output="sentence_embedding", floats=TensorProto.FLOAT16))
    assert (model.pools, model.dim) == (True, 8)
    np.testing.assert_array_equal(model.run(IDS, MASK), table(128, 8)[IDS[:, 0]].astype(np.float16))
    assert load(write_graph(tmp_path / "b.onnx", fixed_dim=False)).dim == 8  # by a run
    assert load(write_graph(tmp_path / "c.onnx", output="token_embeddings")).dim == 8
    assert load(write_graph(tmp_path / "d.onnx", output="output_0")).dim == 8  # its only output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("input_ids", "pixel_values")}, "needs the input pixel_values of type .*input_ids, attention_mask"),
        ({"inputs": ("input_ids",), "integers": TensorProto.INT16}, None),  # ONNX itself refuses the Gather
        ({"shape": ("batch", 128)}, r"fixes the input input_ids to the shape \['batch', 128\].*dynamic"),
        ({"shape": (1, "sequence")}, "fixes the input"),
        ({"output": "logits"}, "has the outputs logits .*expected last_hidden_state"),
        ({"floats": TensorProto.DOUBLE}, r"tensor\(double\).*expected last_hidden_state"),
    ],
)
def test_graphs_that_are_refused(tmp_path: Path, options: dict[str, Any], message: str | None) -> None:
    with pytest.raises(ModelError, match=message):
        load(write_graph(tmp_path / "model.onnx", **options))


def test_a_damaged_file(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"onnxruntime cannot load .*model\.onnx"):
        load(path)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cpu:0", "CUDA", "", None])
def test_unknown_devices(tmp_path: Path, device: Any) -> None:
    with pytest.raises(ArgumentError, match=r"device is .*expected 'cpu', 'cuda'"):
        load(write_graph(tmp_path / "model.onnx"), device)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_the_provider(tmp_path: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=r"device is 'cuda.*CPUExecutionProvider.*nestvec\[gpu\]"):
        load(write_graph(tmp_path / "model.onnx"), device)


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
def test_cuda_that_falls_back_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a driver, onnxruntime-gpu lists the provider, then runs on the CPU without an exception.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(DeviceError, match="could not use it: it offers CPUExecutionProvider instead"):
        load(write_graph(tmp_path / "model.onnx"), "cuda")


def test_threads_and_spinning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    session = onnxruntime.InferenceSession

    def start(path: str, options: Any, providers: Any) -> Any:
        given.append(options)
        return session(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    OnnxEngine(write_graph(tmp_path / "model.onnx"), device="cpu", threads=3, position_offset=0)
    assert (given[0].intra_op_num_threads, given[0].inter_op_num_threads) == (3, 1)
    assert given[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_file_made_elsewhere_has_its_hash_as_its_digest(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", external="weights.bin")
    data = tmp_path / "weights.bin"
    model = load(path)
    assert model.onnx_sha256() == model.digest() == hashlib.sha256(path.read_bytes() + data.read_bytes()).hexdigest()
    changed = bytearray(data.read_bytes())
    changed[-1] ^= 1
    data.write_bytes(changed)
    assert model.onnx_sha256() == model.digest() == hashlib.sha256(path.read_bytes() + data.read_bytes()).hexdigest()
    alone = write_graph(tmp_path / "alone.onnx")
    assert load(alone).digest() == hashlib.sha256(alone.read_bytes()).hexdigest()


@pytest.mark.parametrize("large", [False, True], ids=["one file", "external data"])
def test_an_exported_file_has_the_digest_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    digests: set[str] = set()
    for seed in (0, 0, 1):  # the file names of the exports differ
        folder = write_bert(tmp_path / f"model{len(digests)}{seed}", seed=seed)
        digests.add(load(export_onnx(folder, check=False)).digest())
        with monkeypatch.context() as patch:
            patch.setattr(export, "MAX_INLINE_BYTES", 0 if large else export.MAX_INLINE_BYTES)
            patch.setattr(graph, "OPSET", 18)
            again = load(export_onnx(folder, tmp_path / "again" / f"other{seed}.onnx", check=False))
        assert again.digest() in digests
        assert again.onnx_sha256() not in digests
    assert len(digests) == 2


def test_a_changed_copy_of_an_exported_file_has_another_digest(tmp_path: Path) -> None:
    # Tools keep the metadata of files that they quantize or round.
    path, copy = export_onnx(write_bert(tmp_path), check=False), tmp_path / "copy.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if "weight" in tensor.name:
            halves = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(halves, tensor.name))
    onnx.save(model, copy)
    assert onnx.load(copy).metadata_props == onnx.load(path).metadata_props
    assert load(copy).digest() == sha256_of(copy) != load(path).digest()
