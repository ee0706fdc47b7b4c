"""The encoder as a whole, on tiny models with random weights.

Their vectors are checked against its ONNX file run on one text at a time, pooled in numpy.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tiny_models import WORDS, write_bert, write_json, write_roberta

import nestvec
from nestvec.encoder.encoder import Encoder
from nestvec.encoder.stats import EncodeStats
from nestvec.encoder.tokenizing import TextTokenizer
from nestvec.errors import ArgumentError, DeviceError, ModelError
from nestvec.export.export import export_onnx

Array = np.ndarray[Any, Any]
PROMPTS = {"query": "search query ", "document": ""}


def mixed_texts(count: int) -> list[str]:
    """Texts of all lengths, from the empty text to more tokens than the tiny models take."""
    return [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(i * i % 41)) for i in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bert(tmp_path_factory.mktemp("models") / "bert", prompts=PROMPTS)
    export_onnx(folder, check=False)
    return folder


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return Encoder(model, threads=2)


@pytest.fixture(scope="module")
def expected(model: Path) -> Callable[[str], Array]:
    """Mean-pooled, normalized vectors, text by text."""
    session = onnxruntime.InferenceSession(str(model / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    tokenizer = TextTokenizer(model / "tokenizer.json", {}, lower_case=False, max_length=32)

    def vector(text: str) -> Array:
        ids = np.array([tokenizer.encode(text)])
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = session.run(None, arrays)[0][0].mean(0)
        unit: Array = mean / np.linalg.norm(mean)
        return unit

    return vector


def test_vectors_in_the_order_of_the_texts(encoder: Encoder, expected: Callable[[str], Array]) -> None:
    texts = mixed_texts(70)
    found = encoder.encode(texts)
    assert (found.shape, found.dtype) == ((70, encoder.dim), np.float32)
    np.testing.assert_allclose(found, [expected(text) for text in texts], atol=2e-6)


def test_alone_and_in_any_batch(encoder: Encoder) -> None:
    texts = mixed_texts(60)
    alone = np.array([encoder.encode(text) for text in texts])
    for order in (np.arange(60), np.arange(60)[::-1], np.random.default_rng(0).permutation(60)):
        together = np.empty_like(alone)
        together[order] = encoder.encode([texts[i] for i in order])
        assert (1 - np.einsum("ij,ij->i", alone, together, dtype=np.float64)).max() < 1e-6


def test_padding_moves_no_position(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, padding_side="left", pooling_mode="lasttoken")
    export_onnx(folder, check=False)
    encoder = Encoder(folder)
    texts = ["the cat sat on the mat", "the cat sat on"]
    np.testing.assert_allclose(encoder.encode(texts), [encoder.encode(text) for text in texts], atol=1e-6)


def test_windows_give_the_same_rows_as_a_call(encoder: Encoder) -> None:
    texts = mixed_texts(50)
    whole = encoder.encode(texts)
    for window in (1, 7, 50, 64):
        rows = list(encoder.encode_batches(iter(texts), window=window))
        assert [len(part) for part in rows] == [min(window, 50 - i) for i in range(0, 50, window)]
        np.testing.assert_allclose(np.concatenate(rows), whole, atol=1e-6)


def test_a_single_text_and_an_empty_list(encoder: Encoder) -> None:
    assert encoder.encode("the cat").shape == (32,)
    assert encoder.encode(["the cat"]).shape == (1, 32)
    for texts in ([], (), iter([])):
        assert (encoder.encode(texts).shape, encoder.encode(texts).dtype) == ((0, 32), np.float32)
    assert encoder.encode([], dim=12, precision="binary").shape == (0, 2)
    assert list(encoder.encode_batches([])) == []


def test_strings_of_numpy(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.encode(np.array(["cat", "the mat"])), encoder.encode(["cat", "the mat"]))


def test_the_empty_text_and_halves_of_surrogate_pairs(encoder: Encoder, expected: Callable[[str], Array]) -> None:
    np.testing.assert_allclose(encoder.encode(""), expected(""), atol=2e-6)
    np.testing.assert_allclose(encoder.encode("cat \ud800"), expected("cat \ufffd"), atol=2e-6)


def test_ten_megabytes(encoder: Encoder, expected: Callable[[str], Array]) -> None:
    text = "the cat sat on the mat. " * 420_000
    np.testing.assert_allclose(encoder.encode(text), expected(text[:1000]), atol=2e-6)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("dim", [None, 12])
def test_dim_and_precision_reach_the_pipeline(encoder: Encoder, dim: int | None, precision: str) -> None:
    texts = mixed_texts(9)
    x = encoder.encode(texts)
    x = x if dim is None else nestvec.normalize(nestvec.truncate(x, dim))
    np.testing.assert_array_equal(encoder.encode(texts, dim=dim, precision=precision), nestvec.quantize(x, precision))


def test_prompts(model: Path, encoder: Encoder, expected: Callable[[str], Array], tmp_path: Path) -> None:
    assert encoder.prompts == PROMPTS
    np.testing.assert_array_equal(encoder.encode("cat", prompt="query"), encoder.encode("search query cat"))
    np.testing.assert_array_equal(encoder.encode("cat", prompt="document"), encoder.encode("cat"))
    rows = next(encoder.encode_batches(["cat"], prompt="query"))
    np.testing.assert_array_equal(rows[0], encoder.encode("search query cat"))
    for call in (encoder.encode, encoder.encode_batches):
        with pytest.raises(ArgumentError, match="prompt is 'passage'; this model has the prompts: 'query', 'document'"):
            call(["cat"], prompt="passage")
    folder = write_bert(tmp_path, prompts=PROMPTS, default_prompt_name="query")
    export_onnx(folder, check=False)
    default = Encoder(folder)
    np.testing.assert_allclose(default.encode("cat"), expected("search query cat"), atol=2e-6)
    np.testing.assert_allclose(default.encode("cat", prompt=""), expected("cat"), atol=2e-6)
    np.testing.assert_allclose(default.encode("cat", prompt="document"), expected("cat"), atol=2e-6)


def test_a_prompt_that_is_left_out_of_the_pooling(model: Path, tmp_path: Path) -> None:
    folder = write_bert(tmp_path, prompts=PROMPTS, normalize=False)
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 32, "include_prompt": False})
    session = onnxruntime.InferenceSession(str(export_onnx(folder, check=False)), providers=["CPUExecutionProvider"])
    found = Encoder(folder).encode(["cat sat", "the"], prompt="query")
    tokenizer = TextTokenizer(folder / "tokenizer.json", {}, lower_case=False, max_length=32)
    for text, vector in zip(["cat sat", "the"], found, strict=True):
        ids = np.array([tokenizer.encode("search query " + text)])
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        np.testing.assert_allclose(vector, session.run(None, arrays)[0][0, 3:].mean(0), atol=2e-6)  # [CLS] search query


def test_lengths(model: Path, encoder: Encoder, expected: Callable[[str], Array]) -> None:
    assert encoder.max_length == 32
    long, cut = "cat " * 100, "cat " * 30
    np.testing.assert_array_equal(encoder.encode(long), encoder.encode(cut))
    np.testing.assert_array_equal(encoder.count_tokens([long, "", "the cat"]), [102, 2, 4])
    assert encoder.count_tokens("the cat") == 4
    short = Encoder(model, max_length=5)
    np.testing.assert_allclose(short.encode("the cat sat on the mat"), expected("the cat sat"), atol=2e-6)
    assert Encoder(model, max_length=64).max_length == 64
    with pytest.raises(ArgumentError, match="max_length is 65; the model has positions for 64 tokens"):
        Encoder(model, max_length=65)
    for length in (0, 2, -1, 2.5, "8"):
        with pytest.raises(ArgumentError, match="max_length"):
            Encoder(model, max_length=length)


def test_a_truncation_that_the_model_asks_for(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    write_json(folder / "config_sentence_transformers.json", {"truncate_dim": 8})
    export_onnx(folder, check=False)
    encoder = Encoder(folder)
    assert (encoder.dim, encoder.encode("cat").shape, encoder.encode("cat", dim=32).shape) == (8, (8,), (32,))


def test_roberta(tmp_path: Path) -> None:
    folder = write_roberta(tmp_path, max_length=600)
    session = onnxruntime.InferenceSession(str(export_onnx(folder, check=False)), providers=["CPUExecutionProvider"])
    tokenizer = TextTokenizer(folder / "tokenizer.json", {}, lower_case=False, max_length=64)
    encoder = Encoder(folder)
    assert encoder.max_length == 64  # of 66 positions, whose first two are not for tokens
    texts = ["", "cat " * 500, "the cat sat", "on the mat " * 5]
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        ids = np.array([tokenizer.encode(text)])
        mean = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0].mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=2e-6)


@pytest.mark.parametrize("texts", [None, 3, b"cat", {"cat": 1}, {"cat"}, ["cat", None], ["cat", b"cat"], [["cat"]]])
def test_arguments_that_are_not_lists_of_strings(encoder: Encoder, texts: Any) -> None:
    for call in (encoder.encode, encoder.count_tokens):
        with pytest.raises(ArgumentError, match=r"texts(\[[01]\])? is of type \w+; expected"):
            call(texts)


def test_streams_with_items_that_are_not_strings(encoder: Encoder) -> None:
    for texts in ("cat", b"cat", {"a": "cat"}, None):
        with pytest.raises(ArgumentError, match=r"texts is of type \w+; expected an iterable of strings"):
            encoder.encode_batches(texts)  # type: ignore[arg-type]
    rows = encoder.encode_batches(["cat", "cat", "cat", 5], window=1)  # type: ignore[list-item]
    assert len(next(rows)) == 1
    with pytest.raises(ArgumentError, match=r"texts\[3\] is of type int"):
        list(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dim": 33}, "dim"), ({"dim": 0}, "dim"), ({"precision": "int4"}, "precision"), ({"prompt": "x"}, "prompt")],
)
def test_arguments_are_checked_before_the_first_text_is_read(encoder: Encoder, options: Any, message: str) -> None:
    def texts() -> Iterator[str]:
        raise AssertionError("drawn")
        yield ""

    with pytest.raises(ArgumentError, match=message):
        encoder.encode_batches(texts(), **options)
    with pytest.raises(ArgumentError, match=message):
        encoder.encode(["cat"], **options)
    with pytest.raises(ArgumentError, match="window"):
        encoder.encode_batches([], window=0)


def test_a_stream_reads_at_most_two_windows_ahead(encoder: Encoder) -> None:
    drawn = 0

    def texts() -> Iterator[str]:
        nonlocal drawn
        while True:
            drawn += 1
            yield "the cat"

    rows = encoder.encode_batches(texts(), window=10)
    for done in range(1, 5):
        assert len(next(rows)) == 10
        assert drawn == 10 * (done + 1)


def test_an_exception_of_the_stream_comes_through(encoder: Encoder) -> None:
    def texts() -> Iterator[str]:
        yield from ["the cat"] * 25
        raise OSError("no more texts")

    with pytest.raises(OSError, match="no more texts"):
        list(encoder.encode_batches(texts(), window=10))


def test_an_exception_of_the_tokenizer_comes_through(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TextTokenizer, text: str) -> list[int]:
        raise MemoryError(threading.current_thread().name)

    monkeypatch.setattr(TextTokenizer, "encode", fail)
    with pytest.raises(MemoryError, match="nestvec-ahead"):
        encoder.encode(["cat"])


def test_threads_1_starts_no_other_thread(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    encode = TextTokenizer.encode

    def named(self: TextTokenizer, text: str) -> list[int]:
        names.add(threading.current_thread().name)
        return encode(self, text)

    monkeypatch.setattr(TextTokenizer, "encode", named)
    encoder = Encoder(model, threads=1)
    assert encoder.threads == 1
    encoder.encode(["cat"])
    assert names == {threading.current_thread().name}
    with pytest.raises(ArgumentError, match="threads"):
        Encoder(model, threads=0)
    assert Encoder(model).threads == nestvec.capabilities()["threads"]


def test_an_interrupt_in_the_middle(encoder: Encoder) -> None:
    def texts() -> Iterator[str]:
        while True:
            yield "the cat sat on the mat"

    rows = encoder.encode_batches(texts(), window=64)
    next(rows)
    timer = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in rows:
            pass
    timer.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nestvec-ahead")]
    assert encoder.encode("cat").shape == (32,)


def test_many_threads_on_one_encoder(encoder: Encoder) -> None:
    texts = [mixed_texts(40)[i:] for i in range(6)]
    expected = [encoder.encode(part) for part in texts]
    found: list[Array | None] = [None] * len(texts)

    def run(i: int) -> None:
        found[i] = np.concatenate(list(encoder.encode_batches(texts[i], window=9)))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(found, expected, strict=True):
        assert a is not None
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.cpu_only("a device's batches are larger, and so have more padding")
def test_stats_add_up(encoder: Encoder) -> None:
    texts = mixed_texts(50)
    stats = EncodeStats()
    encoder.encode(texts, stats=stats)
    tokens = int(np.minimum(encoder.count_tokens(texts), 32).sum())
    assert (stats.texts, stats.tokens) == (50, tokens)
    assert tokens <= stats.padded_tokens < 1.2 * tokens
    assert 0 < stats.seconds_engine + stats.seconds_rest < stats.seconds_total
    assert stats.seconds_tokenize > 0
    batches = stats.batches
    for _ in encoder.encode_batches(texts, stats=stats):
        pass
    assert (stats.texts, stats.tokens, stats.batches) == (100, 2 * tokens, 2 * batches)


def test_progress_on_standard_error(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    stats = EncodeStats()
    encoder.encode(["cat"] * 30, progress=True, stats=stats)
    out, err = capsys.readouterr()
    assert out == ""
    assert "30 of 30 texts" in err
    assert stats.texts == 30
    encoder.encode(["cat"])
    assert capsys.readouterr() == ("", "")


def test_the_fingerprint(model: Path, encoder: Encoder, tmp_path: Path) -> None:
    found = encoder.fingerprint
    assert json.loads(json.dumps(found)) == found
    assert Encoder(model, threads=1).fingerprint == found
    found["dim"] = 1
    assert encoder.fingerprint["dim"] == 32
    assert Encoder(model, max_length=8).fingerprint != encoder.fingerprint
    variants = [{"seed": 5}, {"pooling_mode": "cls"}, {"normalize": False}, {"prompts": {"query": "q"}}]
    fingerprints = [encoder.fingerprint]
    for i, options in enumerate(variants):
        folder = write_bert(tmp_path / str(i), **{"prompts": PROMPTS, **options})  # type: ignore[arg-type]
        export_onnx(folder, check=False)
        fingerprints.append(Encoder(folder).fingerprint)
    assert len({json.dumps(fingerprint) for fingerprint in fingerprints}) == len(fingerprints)


def test_models_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no ONNX file; make one with: nestvec export"):
        Encoder(write_bert(tmp_path / "model"), engine="onnxruntime")
    with pytest.raises(ModelError, match=r"there is no file or directory .*nowhere"):
        Encoder(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="model is of type int"):
        Encoder(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"revision is 'main', but .* is not a model id of the hub"):
        Encoder(tmp_path, revision="main")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
@pytest.mark.cpu_only("it needs onnxruntime's session, not the stand-in")
def test_cuda_does_not_silently_fall_back_to_the_cpu(model: Path) -> None:
    with pytest.raises(DeviceError, match="device is 'cuda'"):
        Encoder(model, device="cuda")


def test_importing_the_encoder_imports_no_extra() -> None:
    extras = ("onnxruntime", "tokenizers", "rich")
    code = f"import sys, nestvec.encoder.encoder; print([m for m in {extras} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
