"""Codecs by themselves: fit, encode, decode, and refused arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from every_codec import every_codec, named

import nestvec as nv
from nestvec.errors import ArgumentError

DIM = 40
CODECS = every_codec()
NAMES = named(CODECS)
LEAST = {"binary": 0.7, "rabitq": 0.7, "planes1": 0.7, "pq7x8": 0.6, "pq7x4": 0.35, "opq7x8": 0.7, "opq7x4": 0.5}


def rows(count: int = 600, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows whose variance falls from dimension to dimension, about a mean that is not zero."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, DIM)) * np.linspace(2, 0.3, DIM) + 0.3).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("name", NAMES)
def test_decoded_rows_have_the_direction_of_the_rows(name: str, metric: str) -> None:
    x = rows()
    codec = nv.fit(name, x, metric=metric)
    codes = codec.encode(x)
    decoded = codec.decode(codes)
    factor_bytes = 0 if codes.factors is None else 4
    assert codec.bytes_per_row == codes.codes.shape[1] + factor_bytes
    assert decoded.shape == x.shape
    cosines = (decoded * x).sum(1) / np.linalg.norm(decoded, axis=1) / np.linalg.norm(x, axis=1)
    assert cosines.mean() > LEAST.get(name, 0.9)
    if name not in ("binary",):
        target = x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x
        assert np.square(decoded - target).sum() < 1.1 * np.square(target).sum()


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("name", NAMES)
def test_a_table_stores_just_these_codes(name: str, metric: str) -> None:
    x, q = rows(), rows(5, 1)
    codec = nv.fit(name, x, metric=metric)
    table = nv.Table.build(x, codec=codec, metric=metric)
    np.testing.assert_array_equal(table.vectors(), codec.decode(codec.encode(x)))
    by_name = nv.Table.build(x, codec=name, metric=metric)
    hits, same = table.search(q, 20), by_name.search(q, 20)
    assert (hits.ids.tolist(), hits.scores.tolist()) == (same.ids.tolist(), same.scores.tolist())
    part = codec.encode(x[100:107])
    whole = codec.encode(x)
    np.testing.assert_array_equal(part.codes, whole.codes[100:107])
    for threads in (1, 3):
        np.testing.assert_array_equal(codec.encode(x, threads=threads).codes, whole.codes)


def test_refused_arguments_of_a_fitted_codec() -> None:
    x = rows()
    codec = nv.fit("rabitq2", x)
    with pytest.raises(ArgumentError, match=r"x has 39 columns; expected 40, which this rabitq2 was fitted to"):
        codec.encode(x[:, :39])
    with pytest.raises(ArgumentError, match=r"x holds 1 of .* row 3, column 2"):
        codec.encode(np.where((np.arange(600)[:, None] == 3) & (np.arange(DIM) == 2), np.nan, x))
    with pytest.raises(ArgumentError, match=r"rabitq2 fitted to 40 dimensions .*the table has 39"):
        nv.Table.build(x[:, :39], codec=codec)
    with pytest.raises(ArgumentError, match=r'rabitq2 fitted to .* metric="cosine"; the table has 40 and "ip"'):
        nv.Table.build(x, codec=codec, metric="ip")
    codes = codec.encode(x[:4])
    for wrong in (
        nv.Codes(codes.codes[:, :-1].copy(), codes.factors),
        nv.Codes(codes.codes, None),
        nv.Codes(codes.codes, np.ones(3, np.float32)),
    ):
        with pytest.raises(ArgumentError, match=r"codes|factors"):
            codec.decode(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_rows_with_nothing_to_learn_from(name: str) -> None:
    for x in (np.zeros((300, 40)), np.ones((300, 40)), np.tile(np.arange(40.0), (300, 1)), np.zeros((0, 40))):
        made: Any = nv.Table.build(x, codec=name)
        hits = made.search(np.ones((2, 40)), 3)
        assert hits.ids.tolist() == [[0, 1, 2][: len(x)]] * 2  # all rows are the same, so the ids decide
        assert np.isfinite(hits.scores).all()
        assert (hits.scores == hits.scores[:, :1]).all()


@pytest.mark.parametrize("name", named([codec for codec in CODECS if not codec.sub_quantizers]))
def test_one_dimension(name: str) -> None:
    x = np.linspace(-1, 1, 300, dtype=np.float32)[:, None]
    table = nv.Table.build(x, codec=name, metric="ip")
    hits = table.search(np.array([1.0]), 5, query="float" if name == "binary" else None)
    decoded = table.vectors()[:, 0]
    np.testing.assert_allclose(hits.scores[0], np.sort(decoded)[:-6:-1], rtol=1e-6)
    np.testing.assert_allclose(hits.scores[0], decoded[hits.ids[0]], rtol=1e-6)
    assert (x[hits.ids[0]] > 0).all()


FITS = """
import hashlib, os, sys
if sys.argv[1] == "one CPU" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import numpy as np
import nestvec as nv
from nestvec.stages import (
    PCA, Center, Clip, LinearMap, RandomRotation, Relative, RemoveDirections, Stages, ZeroOutliers
)

def digest(name, *arrays):
    held = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    print(name, hashlib.sha256(held).hexdigest())

random = np.random.default_rng(0)
x = (random.standard_normal((1100, 96)).cumsum(axis=1) + 1).astype(np.float32)  # no product of matrices
for name in sys.argv[2:]:
    for rows in (x, x[:20]) if "pq" not in name else (x,):
        codec = nv.fit(name, rows, seed=5)
        codes = codec.encode(x)
        digest(name, codes.codes, *([] if codes.factors is None else [codes.factors]), codec.decode(codes))
        digest(name, *([] if codec.basis is None else codec.basis.arrays().values()))
directions = random.standard_normal((5, 96))
for recipe in (
    Center(), PCA(), PCA(40, whiten=True), PCA(24, groups=4), Clip(0.9), ZeroOutliers(), RandomRotation(),
    RemoveDirections(directions), RemoveDirections(count=3), Relative(x[:30]),
):
    digest(recipe, recipe.fit(x).apply(x, 0))
for method in ("least squares", "procrustes"):
    digest(method, LinearMap.fit(x, x[:, ::2] * x[:, 1::2], method).apply(x, 0))
chain = Stages.fit([Center(), RandomRotation(2), PCA(48)], x)
digest("chain", chain.transform(x))
"""


def test_fits_have_the_same_bits_in_every_process() -> None:
    learned = [codec.name for codec in CODECS if codec.family.fit is not None]
    found = []
    for cpus, settings in (
        ("all", {}),
        ("one CPU", {"OPENBLAS_NUM_THREADS": "1"}),
        ("all", {"NESTVEC_ISA": "reference", "OPENBLAS_NUM_THREADS": "1"}),
    ):
        environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"} | settings
        command = [sys.executable, "-W", "ignore", "-c", FITS, cpus, *learned]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(ran.stdout.splitlines())
    first, *others = found
    assert len(first) > 2 * len(learned)
    for other in others:
        assert other == first
