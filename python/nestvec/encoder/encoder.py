"""From texts to vectors: an engine with its tokenizer, batching and pipeline."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import as_index
from nestvec.base.columns import per_row
from nestvec.base.types import Ids
from nestvec.encoder.batching import one_ahead, pack, windows
from nestvec.encoder.engine import Engine
from nestvec.encoder.engines.choice import start_engine
from nestvec.encoder.model_pipeline import fit_pipeline
from nestvec.encoder.outputs import CodeOutput, Output, Rows, TextVectors, VectorOutput
from nestvec.encoder.progress import encode_progress
from nestvec.encoder.stats import EncodeStats
from nestvec.encoder.tokenizing import TextTokenizer
from nestvec.errors import ArgumentError, ModelError
from nestvec.model.directory import ModelDir, read_model_dir
from nestvec.model.hub import fetch_model, is_model_id
from nestvec.pipeline.steps import Pipeline

# Tokens of a batch, padding included. On two cores the time per token of all-MiniLM-L6-v2 is flat from 512 to 2,048 and
# a fifth higher at 8,192, where the activations between layers no longer fit the cache. Small batches also pad less.
TOKENS_PER_THREAD = 512
TOKENS_ON_CUDA = 16_384

LEAST_WINDOW = 1024  # texts: enough for batches of nearly equal lengths


class _Tokenized(NamedTuple):
    """A window of texts as token ids, and its batches."""

    rows: list[npt.NDArray[np.int64]]
    batches: list[list[int]]
    seconds: float


class _Job(NamedTuple):
    """The checked arguments of a call."""

    prompt: str
    prompt_tokens: int
    dim: int
    precision: str
    vectors: VectorOutput


class Encoder:
    """Turns texts into vectors, as sentence-transformers does.

    model: a sentence-transformers directory with safetensors or an ONNX file (`nestvec export DIR` writes it), the path
    of an ONNX file, or the id of a model on the Hugging Face hub. The path of an ONNX file in such a directory stands
    for the directory; another ONNX file needs tokenizer.json in its folder. Its output `sentence_embedding`, if any, is
    the vector; if it only has hidden states, `pooling` is required.
    engine: "native", nestvec's own kernels, for config.json and safetensors of the BERT, RoBERTa, XLM-R, CamemBERT and
    DistilBERT layouts; "onnxruntime"; or "auto", which is onnxruntime where it is installed and the model has an ONNX
    file, and native elsewhere.
    device: "cpu", or "cuda" ("cuda:1" for a GPU by its number): then the model's output stays on the GPU, the pipeline
    runs on the GPU, and only its rows are copied back.
    threads: for the engine and the pipeline; None for all that the process may use. Another thread tokenizes the next
    window, unless threads is 1.
    max_length: tokens after which a text is cut, special tokens included; None for the model's limit.
    pooling: a mode of `Pooling`, or several, for a model without modules.json. The vectors are not normalized then.
    revision: the revision of a model on the hub.

    With the native engine a text gives the same vector, bit for bit, alone and in any batch, for any number of threads,
    on every CPU. onnxruntime's matrix products round differently in other batches: by 1e-6 in cosine, as much as the
    engines differ. (By more with a dynamically quantized ONNX file, such as model_quantized.onnx, which scales its
    activations by the batch.) Several threads may use the same encoder at once. Make it after a fork, not before.

    Raises `ModelError` for a model that cannot be read or would run wrongly, `DeviceError` for an unusable device
    (nestvec does not fall back to the CPU), `ArgumentError` for unknown values, and `MissingDependencyError`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        engine: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        max_length: int | None = None,
        pooling: str | Sequence[str] | None = None,
        revision: str | None = None,
    ) -> None:
        self._threads: int = _core.capabilities()["threads"] if threads is None else as_index(threads, "threads", 1)
        self._source = read_model_dir(_locate(model, revision))
        self._tokenizer = TextTokenizer(
            self._source.tokenizer,
            self._source.tokenizer_config,
            lower_case=self._source.lower_case,
            max_length=_max_length(self._source, max_length),
        )
        self._engine: Engine = start_engine(self._source, engine, device=device, threads=self._threads)
        self._pipeline = fit_pipeline(self._source, self._engine, pooling)
        self._dim = min(self._pipeline.dim, self._source.truncate_dim or self._pipeline.dim)
        self._device = device
        self._budget = TOKENS_PER_THREAD * self._threads if device == "cpu" else TOKENS_ON_CUDA

    def __repr__(self) -> str:
        return f"Encoder({str(self._engine.path)!r}, dim={self.dim}, max_length={self.max_length})"

    @property
    def dim(self) -> int:
        """The dimensions of a vector if `encode` gets no `dim`."""
        return self._dim

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut, special tokens included."""
        return self._tokenizer.max_length

    @property
    def threads(self) -> int:
        """The number of threads of the engine and the pipeline."""
        return self._threads

    @property
    def engine(self) -> str:
        """The name of the engine that runs the model: "native" or "onnxruntime"."""
        return self._engine.name

    @property
    def prompts(self) -> dict[str, str]:
        """The model's prompts by name: texts that `encode` puts in front of each text."""
        return dict(self._source.prompts)

    @property
    def pipeline(self) -> Pipeline:
        """The steps after the engine."""
        return self._pipeline

    @property
    def fingerprint(self) -> dict[str, Any]:
        """JSON values that two encoders share only if they make the same vectors: digests and settings.

        It names the model by its weights: two files that `nestvec export` made of the same weights share a fingerprint.
        The first use reads the model's files, which takes about 0.1 seconds for 90 MB.
        """
        return dict(self._fingerprint)

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """Returns the keys in which a stored fingerprint differs from this encoder's, sorted; empty if it is equal.

        Fingerprints from before 0.1.0 name the model by the digest of its ONNX file, and are compared by that.
        """
        given = self.fingerprint
        if "onnx_sha256" in stored:
            del given["model_sha256"]
            given["onnx_sha256"] = self._engine.onnx_sha256()
        return sorted(key for key in stored.keys() | given.keys() if stored.get(key) != given.get(key))

    @cached_property
    def _fingerprint(self) -> dict[str, Any]:
        return {
            "model_sha256": self._engine.digest(),
            "tokenizer_sha256": hashlib.sha256(self._source.tokenizer.read_bytes()).hexdigest(),
            "lower_case": self._source.lower_case,
            "max_length": self.max_length,
            "pipeline": self._pipeline.to_dict(),
            "dim": self.dim,
            "prompts": self.prompts,
            "default_prompt_name": self._source.default_prompt_name,
        }

    def count_tokens(self, texts: str | Iterable[str]) -> npt.NDArray[np.int64]:
        """Counts the tokens of whole texts, special tokens included; `encode` cuts a text with more than `max_length`.

        Returns (texts,), or () for a single string. Raises `ArgumentError` if a text is not a string.
        """
        if isinstance(texts, str):
            return np.array(self._tokenizer.count(texts), np.int64)
        return np.array([self._tokenizer.count(text) for text in _text_list(texts)], np.int64)

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        prompt: str | None = None,
        dim: int | None = None,
        precision: str = "float32",
        progress: bool = False,
        stats: EncodeStats | None = None,
    ) -> npt.NDArray[Any]:
        """Encodes texts.

        texts: a string, or a list or other iterable of strings; an empty string is a text like any other.
        prompt: a name of `prompts`, "" for no prompt; None for the model's default prompt, if any.
        dim: the length of the prefix to keep (normalized again if the model's vectors are normalized).
        precision: "float32", "float16", "int8", "uint8", "binary" or "ubinary", by the conventions of `quantize`.
        progress: show a bar, the rate and the time left on standard error.
        stats: an `EncodeStats` to add to.

        Returns (texts, columns) in the order of the texts, or (columns,) for a single string; (0, columns) if `texts`
        is empty. Raises `ArgumentError` if a text is not a string, and for an unknown prompt, dim or precision.
        """
        job = self._job(prompt, dim, precision)
        single = isinstance(texts, str)
        listed = [texts] if isinstance(texts, str) else _text_list(texts)
        out = job.vectors.empty(len(listed))
        run = EncodeStats()
        try:
            with encode_progress(len(listed), run) if progress else nullcontext():
                done = 0
                for rows in self._stream(job, windows(listed, self._window), run, job.vectors):
                    out[done : done + len(rows)] = rows
                    done += len(rows)
        finally:
            if stats is not None:
                stats.add(run)
        return out[0] if single else out

    def encode_batches(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        dim: int | None = None,
        precision: str = "float32",
        window: int | None = None,
        stats: EncodeStats | None = None,
    ) -> TextVectors:
        """Encodes a stream of texts in bounded memory.

        texts: any iterable of strings; it is read a window ahead of the rows. window: the number of texts that are
        sorted by length and encoded together, and of rows in each array but the last; None for a number that suits the
        threads. The other arguments and the errors are those of `encode`; an item of `texts` that is not a string
        raises when it is reached.

        Returns an iterator over arrays (window, columns) in the order of the texts; empty if `texts` is.
        `Table.build` takes codes from it instead of vectors if it can: see `TextVectors`.
        """
        job = self._job(prompt, dim, precision)
        size = self._window if window is None else as_index(window, "window", 1)
        if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
            raise ArgumentError(f"texts is of type {type(texts).__name__}; expected an iterable of strings")
        checked = _checked(per_row(texts, "texts"))
        stream = partial(self._stream, job, windows(checked, size), EncodeStats() if stats is None else stats)

        def code_output(tiers: Sequence[_core.TierSpec]) -> CodeOutput:
            return CodeOutput(self._pipeline, job.dim, tiers, self._threads)

        return TextVectors(job.dim, stream, job.vectors, code_output if self._gives_codes(job) else None)

    def _gives_codes(self, job: _Job) -> bool:
        """Whether the epilogue can write the codes of a table."""
        return job.precision == "float32" and self._device == "cpu"

    @property
    def _window(self) -> int:
        return max(LEAST_WINDOW, self._budget)

    def _job(self, prompt: str | None, dim: int | None, precision: str) -> _Job:
        text = self._prompt(prompt)
        dim = self.dim if dim is None else as_index(dim, "dim", 1, self._pipeline.dim)
        vectors = VectorOutput(self._pipeline, dim, precision, self._threads)
        return _Job(text, self._tokenizer.prompt_tokens(text), dim, precision, vectors)

    def _prompt(self, name: str | None) -> str:
        if name is None:
            name = self._source.default_prompt_name
        if not name:
            return ""
        if name not in self._source.prompts:
            known = ", ".join(map(repr, self._source.prompts)) or "none"
            raise ArgumentError(f"prompt is {name!r}; this model has the prompts: {known}")
        return self._source.prompts[name]

    def _stream(
        self, job: _Job, texts: Iterator[list[str]], stats: EncodeStats, output: Output[Rows]
    ) -> Iterator[Rows]:
        """Yields the rows of each window of texts, made by `output`."""

        def tokenize(window: list[str]) -> _Tokenized:
            started = time.perf_counter()
            rows = [np.array(self._tokenizer.encode(job.prompt + text), np.int64) for text in window]
            batches = pack([len(row) for row in rows], self._budget)
            return _Tokenized(rows, batches, time.perf_counter() - started)

        started = time.perf_counter()
        for tokenized in one_ahead(tokenize, texts) if self._threads > 1 else map(tokenize, texts):
            stats.seconds_tokenize += tokenized.seconds
            out = output.empty(len(tokenized.rows))
            for batch in tokenized.batches:
                self._run(job, [tokenized.rows[i] for i in batch], stats, partial(output.put, out, batch))
            stats.seconds_total += time.perf_counter() - started
            yield out
            started = time.perf_counter()
        stats.seconds_total += time.perf_counter() - started

    def _run(
        self, job: _Job, rows: list[npt.NDArray[np.int64]], stats: EncodeStats, put: Callable[[Any, Ids, int], None]
    ) -> None:
        """Runs a batch, whose first row is the longest; `put` takes its hidden states."""
        started = time.perf_counter()
        width = max(len(rows[0]), 1)  # an empty text without special tokens has no token
        ids = np.full((len(rows), width), self._tokenizer.padding_id, np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            # Padding on the right moves no position. A graph that pools needs it on the side of its tokenizer.
            at = width - len(row) if self._engine.pools and self._tokenizer.pads_left else 0
            ids[i, at : at + len(row)] = row
            mask[i, at : at + len(row)] = 1
        ready = time.perf_counter()
        hidden = self._engine.run(ids, mask)
        done = time.perf_counter()
        pooled_mask, prompt_tokens = mask, job.prompt_tokens
        if self._engine.pools:
            hidden, pooled_mask, prompt_tokens = hidden.reshape(len(rows), 1, -1), np.ones((len(rows), 1), np.int64), 0
        put(hidden, pooled_mask, prompt_tokens)
        stats.texts += len(rows)
        stats.tokens += int(mask.sum())
        stats.padded_tokens += mask.size
        stats.batches += 1
        stats.seconds_engine += done - ready
        stats.seconds_rest += time.perf_counter() - started - (done - ready)


def _locate(model: str | os.PathLike[str], revision: str | None) -> Path:
    if not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(f"model is of type {type(model).__name__}; expected a path, or a model id of the hub")
    path = Path(model)
    if not path.exists() and is_model_id(str(model)):
        return fetch_model(str(model), revision)
    if revision is not None:
        raise ArgumentError(
            f"revision is {revision!r}, but {path} is not a model id of the hub, and only those have revisions; "
            "leave it out"
        )
    return path


def _max_length(source: ModelDir, given: int | None) -> int:
    if given is not None:
        length = as_index(given, "max_length", 1)
        if source.position_limit is not None and length > source.position_limit:
            raise ArgumentError(f"max_length is {length}; the model has positions for {source.position_limit} tokens")
        return length
    if source.max_length is None:
        raise ModelError(
            f"the folder of {source.tokenizer} does not contain the maximum length of the model's texts, neither in "
            "sentence_bert_config.json nor in tokenizer_config.json nor in config.json; give max_length"
        )
    return source.max_length


def _text_list(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, (bytes, Mapping, AbstractSet)) or not isinstance(texts, Iterable):
        raise ArgumentError(f"texts is of type {type(texts).__name__}; expected a string or a list of strings")
    return list(_checked(per_row(texts, "texts")))


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ArgumentError(f"texts[{i}] is of type {type(text).__name__}; expected a string")
        yield text
