"""The native engine, on tiny checkpoints of every layout: onnxruntime's hidden states, and the same bits everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import WORDS, write_bert, write_distilbert, write_json, write_roberta

import nestvec
from nestvec.encoder.encoder import Encoder
from nestvec.encoder.engines.native import NativeEngine
from nestvec.encoder.engines.onnx import OnnxEngine
from nestvec.errors import ModelError
from nestvec.export.export import export_onnx

Array = np.ndarray[Any, Any]
Writer = Callable[..., Path]
LAYOUTS: dict[str, tuple[Writer, dict[str, Any]]] = {
    "bert": (write_bert, {}),
    "tanh": (write_bert, {"activation": "gelu_new"}),
    "relu": (write_bert, {"activation": "relu"}),
    "silu": (write_bert, {"activation": "silu"}),
    "narrow": (write_bert, {"hidden": 30, "heads": 3, "intermediate": 50}),
    "wide head": (write_bert, {"hidden": 72, "heads": 2, "intermediate": 17}),
    "roberta": (write_roberta, {"model_type": "roberta"}),
    "xlm-roberta": (write_roberta, {}),
    "distilbert": (write_distilbert, {}),
}
TEXTS = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(i * i % 41)) for i in range(40)]


def batch(texts: int, longest: int, vocab: int, seed: int = 0) -> tuple[Array, Array]:
    """Ids of random texts, padded on the right, and their mask."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, texts)
    lengths[0] = longest
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    return rng.integers(2, vocab, (texts, longest)) * mask, mask


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_states_are_those_of_onnxruntime(layout: str, tmp_path: Path) -> None:
    write, options = LAYOUTS[layout]
    folder = write(tmp_path, **options)
    onnx = OnnxEngine(export_onnx(folder, check=False), device="cpu", threads=1, position_offset=0)
    native = NativeEngine(folder, threads=2)
    assert (native.dim, native.pools, native.name) == (onnx.dim, False, "native")
    assert native.digest() == onnx.digest()
    ids, mask = batch(9, 40, 60)
    if layout.endswith("roberta"):
        ids = np.where(mask == 1, ids, 1)
        ids[0, 3] = 1  # a padding token that a text names
    found, expected = native.run(ids, mask), onnx.run(ids, mask)
    assert isinstance(expected, np.ndarray)
    tokens = mask == 1
    np.testing.assert_allclose(found[tokens], expected[tokens], atol=2e-5)
    assert not found[~tokens].any()


@pytest.mark.cpu_only("the native engine runs on the CPU")
def test_vectors_alone_in_any_batch_and_on_any_number_of_threads(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, prompts={"query": "search query "})
    encoder = Encoder(folder, threads=1)
    alone = np.array([encoder.encode(text, prompt="query") for text in TEXTS])
    for threads in (1, 2, 3, 8):
        several = Encoder(folder, threads=threads)
        np.testing.assert_array_equal(several.encode(TEXTS, prompt="query"), alone)
        np.testing.assert_array_equal(several.encode(TEXTS[::-1], prompt="query")[::-1], alone)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: encoder.encode(TEXTS, prompt="query"), range(8)):
            np.testing.assert_array_equal(vectors, alone)


def test_the_same_bits_on_every_isa_and_without_onnxruntime(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, hidden=80, heads=5, intermediate=100)
    code = f"""
import hashlib, sys, types
import nestvec
vectors = nestvec.Encoder({str(folder)!r}, engine="native", threads=2).encode({TEXTS!r})
print(nestvec.capabilities()["isa"], hashlib.sha256(vectors.tobytes()).hexdigest(), "onnxruntime" in sys.modules)
"""
    vectors = Encoder(folder, engine="native", device="cpu").encode(TEXTS)
    digest = hashlib.sha256(vectors.tobytes()).hexdigest()
    for isa in nestvec.capabilities()["isas"]:
        environment = {**os.environ, "NESTVEC_ISA": isa}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.split() == [isa, digest, "False"]


def test_tables_take_encoders_of_either_engine(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    export_onnx(folder, check=False)
    native, onnx = (Encoder(folder, engine=name, device="cpu") for name in ("native", "onnxruntime"))
    assert native.fingerprint == onnx.fingerprint
    table = nestvec.Table.build(onnx.encode(TEXTS), codec="float32", encoder=onnx)
    hits = table.search(TEXTS[:5], 1, encoder=native)
    assert hits.ids[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_empty_batches(tmp_path: Path) -> None:
    engine = NativeEngine(write_bert(tmp_path), threads=1)
    nothing = np.zeros((2, 1), np.int64)
    assert engine.run(nothing, nothing).shape == (2, 1, 32)
    assert engine.run(nothing[:0], nothing[:0]).shape == (0, 1, 32)


def test_weights_that_are_not_those_of_a_model(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    path = folder / "model.safetensors"
    good = load_file(path)
    name = "encoder.layer.1.output.dense.weight"
    for value in (np.nan, np.inf):
        damaged = {**good, name: good[name].copy()}
        damaged[name][3, 5] = value
        save_file(damaged, path)
        with pytest.raises(ModelError, match=f"the weights in .* are damaged: {name}"):
            NativeEngine(folder, threads=1)
    save_file({key: value for key, value in good.items() if key != name}, path)
    with pytest.raises(ModelError, match=f"no {name}, expected"):
        NativeEngine(folder, threads=1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated or no safetensors file"):
        NativeEngine(folder, threads=1)


def test_a_vocabulary_smaller_than_an_id(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "small", vocab=20)
    other = write_bert(tmp_path / "large")
    (folder / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match=r"does not fit its tokenizer: token 1 of text 0 has the id"):
        Encoder(folder, engine="native", device="cpu").encode("python")
    engine = NativeEngine(other, threads=1)
    ids = np.full((1, 65), 5)
    with pytest.raises(ModelError, match="token 64 of text 0 has the position 64; the model has 0 to 63"):
        engine.run(ids, np.ones_like(ids))


def test_models_that_it_would_run_wrongly(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    write_json(folder / "config.json", {"model_type": "bert", "position_embedding_type": "relative_key"})
    with pytest.raises(ModelError, match="position_embedding_type is 'relative_key'"):
        NativeEngine(folder, threads=1)


@pytest.mark.skipif("NESTVEC_TEST_MODEL" not in os.environ, reason="no NESTVEC_TEST_MODEL: make demo fetches a model")
def test_a_real_model() -> None:
    folder = Path(os.environ["NESTVEC_TEST_MODEL"])
    native, onnx = (Encoder(folder, engine=name, device="cpu") for name in ("native", "onnxruntime"))
    texts = [*TEXTS, "Hello world", "", "x = [y for y in z if y]", "WHY?", "word " * 400]
    found, expected = native.encode(texts), onnx.encode(texts)
    assert np.abs(found - expected).max() < 2e-6
    assert (1 - np.einsum("ij,ij->i", found, expected, dtype=np.float64)).max() < 1e-6
