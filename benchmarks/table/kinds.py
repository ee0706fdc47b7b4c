"""Vectors for quality.py besides those of its model: static ones, and ones with a common mean."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import nestvec
from benchmarks.common import progress
from nestvec.cli.demo.model import check_sha256, unpack

Floats = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Floats]

STATIC = "wordllama==0.4.0.post1"
STATIC_SHA256 = "42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97"
# One wheel for all machines and Pythons: its weights are read, its code is not run.
STATIC_WHEEL = ("--implementation", "cp", "--python-version", "3.11", "--platform", "manylinux2014_x86_64")

# E5's model card (intfloat/e5-base-v2, question 3): cosines "distribute around 0.7 to 1.0". With this length of the
# added direction the mean over Vaswani is within that; quality.py prints it.
COMMON_LENGTH = 1.7


def static_encoder(folder: Path) -> Encode:
    """WordLlama's static vectors, 256 dimensions, trained as Matryoshka prefixes: the mean of a text's token vectors.

    folder: keeps the files of the wheel, which pip downloads at the first call.
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    weights = folder / STATIC / "weights" / "l2_supercat_256.safetensors"
    if not weights.is_file():
        fetch_static(folder / STATIC)
    table = load_file(weights)["embedding.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(folder / STATIC / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def encode(texts: Sequence[str]) -> Floats:
        tokens = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return np.stack([table[np.minimum(found.ids, len(table) - 1)].mean(axis=0) for found in tokens])

    return encode


def fetch_static(target: Path) -> None:
    """Downloads the wheel, checks its SHA-256, and unpacks its package to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        progress(f"fetching {STATIC}")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, *STATIC_WHEEL, "--dest", temporary, STATIC], check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        check_sha256(wheel, STATIC_SHA256)
        unpack(wheel, "wordllama/", Path(temporary, "package"))
        Path(temporary, "package").rename(target)


def with_common_mean(x: Floats) -> Floats:
    """Unit vectors with one direction added to all, of COMMON_LENGTH, scaled to length 1 again: synthetic."""
    direction = np.random.default_rng(0).standard_normal(x.shape[1])
    direction *= COMMON_LENGTH / np.linalg.norm(direction)
    return nestvec.normalize(nestvec.normalize(x) + direction.astype(np.float32))


def mean_cosine(x: Floats) -> float:
    """The mean cosine between two different rows."""
    total = nestvec.normalize(x).sum(axis=0, dtype=np.float64)
    return float((total @ total - len(x)) / (len(x) * (len(x) - 1)))
