"""A real encoder, all-MiniLM-L6-v2, exported to ONNX; real_model.py says which.

The expected numbers were made with sentence-transformers 6.2 and PyTorch 2.13 on a CPU.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import real_model
from tiny_models import WORDS

from nestvec.encoder.encoder import Encoder

REAL_MODEL = os.environ.get(real_model.VARIABLE)
QUICK_START = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
FIRST_VALUES = {
    "The weather is lovely today.": (0.019195726, 0.120085344, 0.159598336, 0.067065872),
    "": (-0.118838415, 0.048298810, -0.002548039, -0.011011183),
    "hello": (-0.062771730, 0.054958917, 0.052164782, 0.085790046),
    "  leading and trailing blanks  ": (0.044869274, 0.064721301, 0.071332395, -0.003179298),
    "tabs\tand\nnewlines\r\n": (-0.029952869, -0.055664167, -0.010183757, -0.036812324),
    "Ünïcödé Straße ÉCOLE": (0.026204431, 0.013526179, 0.012197889, -0.024072412),
    "日本語のテキスト": (0.001653713, 0.142980337, 0.068165079, -0.022777898),
    "[SEP] is a special token": (-0.071719363, 0.047957502, 0.021839386, 0.000169339),
    "a " * 600: (-0.014422592, -0.047101609, 0.023829797, -0.082848974),
    "x" * 5000: (-0.041596480, -0.024681825, 0.077893183, -0.006149536),
    "def f(x):\n    return x**2": (-0.007613336, 0.046609383, -0.004784517, 0.060228541),
    "emoji 😀 and \ufffd \x00 \u200b end": (-0.012234741, 0.013093728, 0.067745164, -0.007838231),
}


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    if not REAL_MODEL:
        pytest.skip(real_model.MISSING)
    return Encoder(REAL_MODEL)


def test_real_model_similarities_of_the_quick_start(minilm: Encoder) -> None:
    x = minilm.encode(QUICK_START)
    assert (minilm.dim, minilm.max_length) == (384, 256)
    np.testing.assert_array_equal(np.round((x @ x.T)[[0, 0, 1], [1, 2, 2]], 4), np.float32([0.6660, 0.1046, 0.1411]))


def test_real_model_agrees_with_sentence_transformers(minilm: Encoder) -> None:
    found = minilm.encode(list(FIRST_VALUES))
    np.testing.assert_allclose(found[:, :4], list(FIRST_VALUES.values()), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_real_model_alone_and_in_a_batch(minilm: Encoder) -> None:
    texts = [" ".join(f"{word} number {i % 17}" for word in WORDS[: i % 40]) for i in range(200)]
    together = minilm.encode(texts)
    alone = np.array([minilm.encode(text) for text in texts])
    assert (1 - np.einsum("ij,ij->i", together, alone, dtype=np.float64)).max() < 1e-6
    shuffled = np.random.default_rng(0).permutation(200)
    again = minilm.encode([texts[i] for i in shuffled])
    assert (1 - np.einsum("ij,ij->i", together[shuffled], again, dtype=np.float64)).max() < 1e-6
