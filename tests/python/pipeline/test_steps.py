from __future__ import annotations

import dataclasses
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nestvec as nv
from nestvec.errors import ArgumentError
from nestvec.pipeline.steps import Step

MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
PRECISIONS = ("float32", "float16", "int8", "uint8", "binary", "ubinary")

# From sentence-transformers 6.2.0 with torch 2.13.0, to 7 digits: Pooling(2, MODES, include_prompt=False) on HIDDEN,
# by padding side and prompt_length. HIDDEN has 3 texts of 4, 3 and 2 tokens.
HIDDEN = ((np.arange(3 * 4 * 2) * 37 % 23 - 11) / 8).astype(np.float32).reshape(3, 4, 2)
MASKS = {"right": [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], "left": [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]}
POOLED = {
    ("right", 0): [
        [-1.375, 0.375, 0.5, 1.0, -0.4375, -0.125, -0.875, -0.25, -0.125, -0.3875, 0.5, -0.625],
        [1.125, 0.0, 1.125, 1.25, -0.1666667, 0.625, -0.2886751, 1.082532, -0.4375, 0.8333333, -0.5, 1.25],
        [0.75, -0.375, 1.375, 0.25, 1.0625, -0.0625, 1.502602, -0.08838835, 1.166667, 0.04166667, 1.375, 0.25],
    ],
    ("right", 1): [
        [-0.75, 1.0, 0.5, 1.0, -0.125, -0.2916667, -0.2165064, -0.5051815, 0.01388889, -0.4722222, 0.5, -0.625],
        [-1.125, 0.625, -0.5, 1.25, -0.8125, 0.9375, -1.149049, 1.325825, -0.75, 1.0, -0.5, 1.25],
        [1.375, 0.25, 1.375, 0.25, 1.375, 0.25, 1.375, 0.25, 1.375, 0.25, 1.375, 0.25],
    ],
    ("left", 0): [
        [-1.375, 0.375, 0.5, 1.0, -0.4375, -0.125, -0.875, -0.25, -0.125, -0.3875, 0.5, -0.625],
        [-1.125, 0.625, 0.125, 1.25, -0.5, 0.2916667, -0.8660254, 0.5051815, -0.2916667, 0.02083333, 0.125, -1.0],
        [-0.875, 0.875, -0.25, 0.875, -0.5625, -0.25, -0.7954952, -0.3535534, -0.4583333, -0.625, -0.25, -1.375],
    ],
    ("left", 1): [
        [-0.75, 1.0, 0.5, 1.0, -0.125, -0.2916667, -0.2165064, -0.5051815, 0.01388889, -0.4722222, 0.5, -0.625],
        [-0.5, 1.25, 0.125, 1.25, -0.1875, 0.125, -0.2651651, 0.1767767, -0.125, -0.1, 0.125, -1.0],
        [-0.25, -1.375, -0.25, -1.375, -0.25, -1.375, -0.25, -1.375, -0.25, -1.375, -0.25, -1.375],
    ],
}

# From torch 2.13.0: the activations, nn.LayerNorm(6) with weight 1 to 6 and BIAS, and functional.normalize of ROW.
ROW = np.array([-3.0, -1.0, -0.25, 0.0, 0.5, 2.0], np.float32)
BIAS = np.array([0.5, -0.5, 0.0, 1.0, -1.0, 2.0], np.float32)
LAYER_NORM = [-1.2856833, -1.4340498, 0.082416132, 1.7692175, 1.6098448, 11.065777]
UNIT = [-0.79298234, -0.26432744, -0.066081859, 0.0, 0.13216372, 0.52865487]
ACTIVATED = {
    "identity": ROW.tolist(),
    "tanh": [-0.99505478, -0.76159418, -0.24491866, 0.0, 0.46211717, 0.96402758],
    "relu": [0.0, 0.0, 0.0, 0.0, 0.5, 2.0],
    "gelu": [-0.004050225, -0.15865526, -0.10032342, 0.0, 0.34573123, 1.9544997],
    "sigmoid": [0.047425874, 0.26894143, 0.4378235, 0.5, 0.62245935, 0.88079703],
    "silu": [-0.14227761, -0.26894143, -0.10945588, 0.0, 0.31122968, 1.7615941],
}


def batch(seed: int, texts: int, tokens: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states of texts of drawn lengths, each padded on a drawn side."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, tokens + 1, texts)
    mask = np.arange(tokens) < lengths[:, None]
    left = rng.random(texts) < 0.5
    mask[left] = mask[left, ::-1]
    return rng.standard_normal((texts, tokens, dim)).astype(np.float32), mask.astype(np.int64)


def run_row(row: np.ndarray, *steps: Step) -> np.ndarray:
    """Runs one row through steps after a pooling that does not change it."""
    return nv.Pipeline([nv.Pooling(("cls",)), *steps], len(row))(row[None, None], [[1]])[0]


@pytest.mark.parametrize(("side", "prompt_tokens"), POOLED)
def test_pooling_gives_sentence_transformers_numbers(side: str, prompt_tokens: int) -> None:
    pipeline = nv.Pipeline([nv.Pooling(MODES, include_prompt=False)], 2)
    got = pipeline(HIDDEN, MASKS[side], prompt_tokens=prompt_tokens)
    np.testing.assert_allclose(got, POOLED[side, prompt_tokens], rtol=1e-6)


def test_the_prompt_stays_where_the_pooling_includes_it() -> None:
    got = nv.Pipeline([nv.Pooling(MODES)], 2)(HIDDEN, MASKS["left"], prompt_tokens=1)
    np.testing.assert_allclose(got, POOLED["left", 0], rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_pool_is_one_mode_of_the_concatenation(mode: str) -> None:
    column = 2 * MODES.index(mode)
    want = np.array(POOLED["right", 0])[:, column : column + 2]
    np.testing.assert_allclose(nv.pool(HIDDEN, MASKS["right"], mode), want, rtol=1e-6)


def test_modes_are_concatenated_in_the_order_given() -> None:
    got = nv.pool(HIDDEN, MASKS["left"], ["lasttoken", "mean_sqrt_len_tokens"])
    want = np.array(POOLED["left", 0])[:, [10, 11, 6, 7]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_text_gives_the_same_bits_alone_and_in_any_batch(mode: str) -> None:
    hidden, mask = batch(1, 40, 30, 48)
    pipeline = nv.Pipeline([nv.Pooling((mode,), include_prompt=False), nv.Normalize()], 48)
    together = pipeline(np.where(mask[..., None] == 1, hidden, np.nan), mask, prompt_tokens=0)
    for i in range(40):
        keep = mask[i] == 1
        assert np.array_equal(pipeline(hidden[i : i + 1, keep], mask[i : i + 1, keep])[0], together[i])


def test_half_hidden_states_are_summed_in_float32() -> None:
    hidden, mask = batch(2, 5, 40, 16)
    half = hidden.astype(np.float16)
    assert np.array_equal(nv.pool(half, mask), nv.pool(half.astype(np.float32), mask))
    ones = np.ones((1, 3000, 1), np.float16)
    assert nv.pool(ones, np.ones((1, 3000), bool)).item() == 1  # a float16 sum would stop at 2048


def test_a_text_without_tokens() -> None:
    hidden = np.full((1, 2, 3), 5, np.float32)
    for mode in ("mean", "mean_sqrt_len", "weightedmean", "lasttoken"):
        assert not nv.pool(hidden, [[0, 0]], mode).any()
    assert nv.pool(hidden, [[0, 0]], "cls").tolist() == [[5, 5, 5]]
    with pytest.raises(ArgumentError, match=r"1 of 1 texts .* first is text 0; .* mask that keeps no token"):
        nv.pool(hidden, [[0, 0]], "max")


@pytest.mark.parametrize("activation", ACTIVATED)
def test_dense_gives_torch_numbers(activation: str) -> None:
    got = run_row(ROW, nv.Dense(np.eye(6), None, activation))
    np.testing.assert_allclose(got, ACTIVATED[activation], rtol=1e-6, atol=1e-6)


def test_dense_multiplies_by_out_by_in_weights_and_adds_the_bias() -> None:
    rng = np.random.default_rng(3)
    weight, bias, row = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 33), 5, 33))
    got = run_row(row, nv.Dense(weight, bias, "identity"))
    np.testing.assert_allclose(got, weight.astype(np.float64) @ row + bias, rtol=1e-5)
    assert np.array_equal(got, run_row(row, nv.Dense(np.asfortranarray(weight, np.float64), bias, "identity")))


def test_layer_norm_and_normalize_give_torch_numbers() -> None:
    got = run_row(ROW, nv.LayerNorm(np.arange(1, 7, dtype=np.float32), BIAS))
    np.testing.assert_allclose(got, LAYER_NORM, rtol=1e-6)
    np.testing.assert_allclose(run_row(ROW, nv.Normalize()), UNIT, rtol=1e-6)
    np.testing.assert_allclose(nv.normalize(ROW), UNIT, rtol=1e-6)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    texts=st.integers(1, 9),
    tokens=st.integers(1, 20),
    hidden_dim=st.integers(1, 40),
    modes=st.lists(st.sampled_from(MODES), min_size=1, unique=True),
    normalized=st.booleans(),
    precision=st.sampled_from(PRECISIONS),
    data=st.data(),
)
def test_the_pipeline_equals_the_chain_of_stateless_functions(
    seed: int,
    texts: int,
    tokens: int,
    hidden_dim: int,
    modes: list[str],
    normalized: bool,
    precision: str,
    data: st.DataObject,
) -> None:
    hidden, mask = batch(seed, texts, tokens, hidden_dim)
    width = hidden_dim * len(modes)
    dim = data.draw(st.none() | st.integers(1, width))
    steps: list[Step] = [nv.Pooling(modes)] + [nv.Normalize()] * normalized
    got = nv.Pipeline(steps, hidden_dim)(hidden, mask, dim=dim, precision=precision)

    rows = nv.pool(hidden, mask, modes)
    if normalized:
        rows = nv.normalize(rows)
    if dim not in (None, width):
        rows = nv.truncate(rows, dim)
        rows = nv.normalize(rows) if normalized else rows
    want = nv.quantize(rows, precision)
    assert got.dtype == want.dtype
    assert np.array_equal(got, want)


def test_many_python_threads_share_one_pipeline() -> None:
    rng = np.random.default_rng(4)
    dense = nv.Dense(rng.standard_normal((96, 64)).astype(np.float32), None, "tanh")
    pipeline = nv.Pipeline([nv.Pooling(), dense, nv.Normalize()], 64)
    batches = [batch(seed, 20 + seed, 40, 64) for seed in range(8)]
    want = [pipeline(*batch, precision="int8", threads=1) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: pipeline(*batches[i % 8], precision="int8"), range(80)))
    for i, codes in enumerate(got):
        assert np.array_equal(codes, want[i % 8])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_output_is_known_without_a_run(precision: str) -> None:
    pipeline = nv.Pipeline([nv.Pooling(("mean", "cls"))], 12)
    for dim in (None, 1, 8, 11, 24):
        rows = pipeline(np.ones((2, 3, 12), np.float32), np.ones((2, 3), int), dim=dim, precision=precision)
        assert pipeline.output(dim, precision) == (rows.shape[1], rows.dtype)
    for wrong in ({"dim": 0}, {"dim": 25}, {"precision": "int4"}, {"precision": None}):
        with pytest.raises(ArgumentError, match=f"{next(iter(wrong))} is "):
            pipeline.output(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_empty_batch_gives_an_empty_result(precision: str) -> None:
    pipeline = nv.Pipeline([nv.Pooling(), nv.Normalize()], 12)
    rows = pipeline(np.ones((2, 3, 12), np.float32), np.ones((2, 3), int), dim=11, precision=precision)
    for tokens in (0, 5):
        hidden, mask = np.empty((0, tokens, 12), np.float32), np.empty((0, tokens), int)
        none = pipeline(hidden, mask, dim=11, precision=precision)
        assert none.shape == (0, rows.shape[1])
        assert none.dtype == rows.dtype
    assert nv.pool(np.empty((0, 0, 4), np.float16), np.empty((0, 0), bool)).shape == (0, 4)


def test_arrays_are_read_in_any_layout() -> None:
    hidden, mask = batch(5, 6, 10, 16)
    want = nv.pool(hidden, mask)
    wide = np.zeros((6, 20, 32), np.float32)
    wide[:, ::2, ::2] = hidden
    unaligned = np.frombuffer(b"\0" + hidden.tobytes(), np.uint8)[1:].view(np.float32).reshape(hidden.shape)
    for same in (
        np.asfortranarray(hidden),
        wide[:, ::2, ::2],
        hidden[::-1].copy()[::-1],
        hidden.astype(np.float64),
        hidden.astype(">f4"),
        unaligned,
        memoryview(hidden),
    ):
        assert np.array_equal(nv.pool(same, mask), want)
    for kept in (mask.astype(bool), mask.astype(np.uint8), np.asfortranarray(mask), mask.tolist()):
        assert np.array_equal(nv.pool(hidden, kept), want)


def test_steps_cannot_be_changed() -> None:
    weight = np.eye(3, dtype=np.float32)
    dense = nv.Dense(weight, None, "identity")
    weight[:] = 7
    assert np.array_equal(dense.weight, np.eye(3))
    with pytest.raises(ValueError, match="read-only"):
        dense.weight[0, 0] = 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        dense.activation = "tanh"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        nv.Pipeline([nv.Pooling()], 3).dim = 4  # type: ignore[misc]


def full_pipeline(weight: float = 1.0) -> nv.Pipeline:
    dense = nv.Dense(np.full((3, 8), weight), np.ones(3), "relu")
    norm = nv.LayerNorm(np.ones(3), np.zeros(3), eps=1e-6)
    return nv.Pipeline(
        [nv.Pooling(("mean_sqrt_len_tokens", "max"), include_prompt=False), dense, norm, nv.Normalize()], 4
    )


def test_description_of_a_pipeline() -> None:
    pipeline = full_pipeline()
    assert (pipeline.dim, pipeline.hidden_dim, len(pipeline.steps)) == (3, 4, 4)
    assert repr(pipeline) == "Pipeline([Pooling, Dense, LayerNorm, Normalize], hidden_dim=4, dim=3)"
    described = pipeline.to_dict()
    assert json.loads(json.dumps(described)) == described
    # The digests are sha256 of 24 ones and 3 ones, and of 3 ones and 3 zeros, as little-endian float32.
    assert described == {
        "hidden_dim": 4,
        "steps": [
            {"step": "pooling", "modes": ["mean_sqrt_len", "max"], "include_prompt": False},
            {"step": "dense", "in": 8, "out": 3, "bias": True, "activation": "relu", "sha256": "835aa0f465494efb"},
            {"step": "layer_norm", "dim": 3, "eps": 1e-6, "sha256": "2ad9765cd88ebce5"},
            {"step": "normalize"},
        ],
    }
    assert full_pipeline(np.nextafter(np.float32(1), np.float32(2))).to_dict() != described


def test_a_pipeline_survives_pickling() -> None:
    hidden, mask = batch(6, 3, 5, 4)
    pipeline = full_pipeline()
    copy = pickle.loads(pickle.dumps(pipeline))
    assert copy.to_dict() == pipeline.to_dict()
    assert np.array_equal(copy(hidden, mask), pipeline(hidden, mask))


def refusals() -> list[tuple[str, Any]]:
    hidden, mask = np.zeros((2, 3, 4), np.float32), np.ones((2, 3), np.int64)
    pipeline = nv.Pipeline([nv.Pooling(), nv.Normalize()], 4)
    eye, ones = np.eye(4), np.ones(4)
    infinite = np.where(np.arange(24).reshape(2, 3, 4) == 17, np.inf, 0)
    return [
        (r"the pooling mode is \"avg\"; expected one of cls, max, mean, mean_sqrt_len,", lambda: nv.Pooling(("avg",))),
        (r"string 'mean'; expected a sequence of names: \('mean',\)", lambda: nv.Pooling("mean")),
        (r"a pooling mode is 3; expected a string", lambda: nv.Pooling((3,))),
        (r"mode twice", lambda: nv.pool(hidden, mask, ["mean_sqrt_len", "mean_sqrt_len_tokens"])),
        (r"has no mode", lambda: nv.pool(hidden, mask, [])),
        (r"activation is \"swish\"; expected one of identity, tanh, relu", lambda: nv.Dense(eye, None, "swish")),
        (r"activation is None; expected a string", lambda: nv.Dense(eye, None, None)),
        (r"weight has the shape \(4,\); expected \(out, in\)", lambda: nv.Dense(ones, None, "relu")),
        (r"weight has the dtype int64", lambda: nv.Dense(np.ones((4, 4), int), None, "relu")),
        (r"16 weights and 3 biases", lambda: nv.Pipeline([nv.Pooling(), nv.Dense(eye, np.ones(3), "relu")], 4)),
        (
            r"takes rows of 4 values, but .* makes 5",
            lambda: nv.Pipeline([nv.Pooling(), nv.Dense(eye, None, "relu")], 5),
        ),
        (r"LayerNorm step's weight takes rows of 4", lambda: nv.Pipeline([nv.Pooling(), nv.LayerNorm(ones, ones)], 5)),
        (r"eps is nan", lambda: nv.Pipeline([nv.Pooling(), nv.LayerNorm(ones, ones, float("nan"))], 4)),
        (
            r"steps are \[Normalize, Pooling\]; expected one Pooling",
            lambda: nv.Pipeline([nv.Normalize(), nv.Pooling()], 4),
        ),
        (r"steps are \[\]", lambda: nv.Pipeline([], 4)),
        (r"a step is of type str", lambda: nv.Pipeline(["mean"], 4)),
        (r"hidden_dim is 0; expected an integer of 1 or more", lambda: nv.Pipeline([nv.Pooling()], 0)),
        (r"hidden has the shape \(2, 3\); expected \(texts, tokens, hidden_dim\)", lambda: pipeline(mask * 1.0, mask)),
        (r"hidden has the shape \(2, 3, 0\)", lambda: pipeline(hidden[..., :0], mask)),
        (r"hidden has the dtype int64", lambda: pipeline(hidden.astype(int), mask)),
        (r"hidden has the dtype complex64", lambda: pipeline(hidden.astype(np.complex64), mask)),
        (r"hidden has the dtype object", lambda: pipeline(hidden.astype(object), mask)),
        (r"3 values per token; expected 4", lambda: pipeline(hidden[..., :3], mask)),
        (r"no tokens", lambda: pipeline(hidden[:, :0], mask[:, :0])),
        (r"mask has the shape \(3, 2\); expected \(2, 3\)", lambda: pipeline(hidden, mask.T)),
        (r"mask has the shape \(2, 3, 1\); expected \(texts, tokens\)", lambda: pipeline(hidden, mask[..., None])),
        (r"mask has the dtype float64; expected integers or bool", lambda: pipeline(hidden, mask * 1.0)),
        (r"mask holds -10000 at text 0, token 0", lambda: pipeline(hidden, mask * -10000)),
        (r"dim is 5; expected an integer from 1 to 4", lambda: pipeline(hidden, mask, dim=5)),
        (r"dim is 0", lambda: pipeline(hidden, mask, dim=0)),
        (r"dim is 2.0", lambda: pipeline(hidden, mask, dim=2.0)),
        (r"dim is True", lambda: pipeline(hidden, mask, dim=True)),
        (r"prompt_tokens is -1", lambda: pipeline(hidden, mask, prompt_tokens=-1)),
        (r"threads is 0", lambda: pipeline(hidden, mask, threads=0)),
        (r"precision is \"int4\"; expected one of float32, float16,", lambda: pipeline(hidden, mask, precision="int4")),
        (r"precision is None; expected a string", lambda: pipeline(hidden, mask, precision=None)),
        (r"1 of 2 texts are NaN, infinite, the first is text 1;", lambda: pipeline(infinite, mask)),
        (
            r"too large for float16 .* text 0;",
            lambda: nv.Pipeline([nv.Pooling()], 4)(hidden + 7e4, mask, precision="float16"),
        ),
    ]


@pytest.mark.parametrize(("message", "call"), refusals())
def test_refused_arguments_are_named(message: str, call: Any) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
