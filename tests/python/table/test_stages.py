"""Tables with stages: the same as a table of transformed vectors, saved, mapped to another model, forged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from forge import Forged
from onnx_graphs import write_network

from nestvec import Table
from nestvec.errors import ArgumentError, ModelError, TableFileError
from nestvec.stages import PCA, Center, Clip, LinearMap, OnnxStage, RandomRotation, Relative, RemoveDirections, Stages
from nestvec.table.hits import Hits

Floats = npt.NDArray[Any]
ROWS, DIM = 500, 20
RNG = np.random.default_rng(3)
X: Floats = (RNG.standard_normal((ROWS, DIM)) @ RNG.standard_normal((DIM, DIM)) + 2).astype(np.float32)
Q: Floats = (X[::50] + RNG.standard_normal((10, DIM))).astype(np.float32)
WEIGHTS: Floats = (0.1 * RNG.standard_normal((DIM, 12))).astype(np.float32)

CASES: list[list[Any]] = [
    [Center()],
    [PCA(12)],
    [Center(), RandomRotation(1)],
    [Clip(0.99), PCA(9, whiten=True), RandomRotation()],
    [RemoveDirections(count=2), Relative(X[:30])],
]


def same(got: Hits, want: Hits) -> None:
    np.testing.assert_array_equal(got.ids, want.ids)
    np.testing.assert_array_equal(got.scores, want.scores)


def batches(x: Floats, rows: int) -> Iterator[Floats]:
    yield from (x[at : at + rows] for at in range(0, len(x), rows))


@pytest.mark.parametrize("options", [{"codec": "binary", "rescore": "int8"}, {"codec": "float32", "metric": "ip"}])
@pytest.mark.parametrize("stages", CASES, ids=repr)
def test_a_search_equals_that_of_transformed_vectors(
    stages: list[Any], options: dict[str, Any], tmp_path: Path
) -> None:
    fitted = Stages.fit(stages, X)
    plain = Table.build(fitted.transform(X), **options)
    want = plain.search(fitted.transform(Q), 7)
    table = Table.build(X, stages=stages, **options)
    assert (table.input_dim, table.dim) == (DIM, fitted.dim)
    table.save(tmp_path / "saved")
    streamed = Table.build(batches(X, 77), stages=stages, path=tmp_path / "streamed", **options)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()
    for searched in (table, streamed, Table.open(tmp_path / "saved")):
        same(searched.search(Q, 7), want)
        same(searched.search(Q[3], 7, threads=1), Hits(want.scores[3:4], want.ids[3:4], want.metric, want.stats))
        assert repr(searched.stages) == repr(fitted)
    assert table.nbytes == plain.nbytes + table.codebook_bytes
    assert table.codebook_bytes == sum(array.nbytes for stage in fitted for array in stage.arrays().values())


def test_a_search_equals_numpy(tmp_path: Path) -> None:
    center, top = X.mean(axis=0, dtype=np.float64), np.linalg.svd(X - X.mean(axis=0, dtype=np.float64))[2][:6].T
    x, q = (X - center) @ top, (Q - center) @ top
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    table = Table.build(X, codec="float32", stages=[PCA(6)], dims=[2])
    hits = table.search(Q, 5)
    np.testing.assert_array_equal(hits.ids, np.argsort(-(q @ x.T), axis=1)[:, :5])
    np.testing.assert_allclose(hits.scores, -np.sort(-(q @ x.T), axis=1)[:, :5], atol=2e-6)
    np.testing.assert_allclose(np.abs(table.vectors()), np.abs(x), atol=2e-6)
    x, q = x[:, :2] / np.linalg.norm(x[:, :2], axis=1, keepdims=True), q[:, :2]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    np.testing.assert_array_equal(table.search(Q, 3, dim=2).ids, np.argsort(-(q @ x.T), axis=1)[:, :3])


def test_stages_that_are_fitted_before() -> None:
    fitted = PCA(8).fit(X)
    table = Table.build(iter([X[:5], X[5:9]]), codec="float32", stages=[fitted])
    same(table.search(Q, 3), Table.build(fitted.transform(X[:9]), codec="float32").search(fitted.transform(Q), 3))
    assert len(Table.build(X[:0], stages=[fitted])) == 0
    with pytest.raises(ArgumentError, match=r"Center\(\) cannot be fitted on a sample without rows"):
        Table.build(X[:0], stages=[Center()])


def test_codecs_that_learn_and_second_vectors() -> None:
    table = Table.build(X, codec="pq4x4", metric="ip", stages=[PCA(10)], fine=2 * X, rescore="float32")
    fitted = PCA(10).fit(X)
    want = Table.build(fitted.transform(X), codec="pq4x4", metric="ip", fine=2 * X, rescore="float32")
    same(table.search(Q, 5, fine=Q), want.search(fitted.transform(Q), 5, fine=Q))
    assert table.fine_dim == table.input_dim == DIM


def test_queries_that_do_not_fit() -> None:
    table = Table.build(X, stages=[Center(), PCA(12)])
    message = r"queries have 12 columns; expected 20, .* stages map them to 12 \(Center\(\) \+ PCA\(dim=12"
    with pytest.raises(ArgumentError, match=message):
        table.search(Q[:, :12])
    bad = Q.copy()
    bad[4, 1] = np.nan
    with pytest.raises(ArgumentError, match=r"queries holds .* row 4, column 1"):
        table.search(bad)
    with pytest.raises(ArgumentError, match="dim is 13; expected an integer from 1 to 12"):
        table.search(Q, dim=13)


def test_vectors_that_do_not_fit(tmp_path: Path) -> None:
    bad = X.copy()
    bad[301, 7] = np.inf
    fitted = PCA(8).fit(X)
    with pytest.raises(ArgumentError, match=r"x holds .*\(counted from row 300 of x\)"):
        Table.build(batches(bad, 100), stages=[fitted], path=tmp_path / "table")
    with pytest.raises(ArgumentError, match="sample holds"):
        Table.build(bad, stages=[PCA(8)])
    with pytest.raises(ArgumentError, match="x has 19 columns; expected the 20"):
        Table.build(iter([X, X[:, 1:]]), stages=[fitted], path=tmp_path / "table")
    with pytest.raises(ArgumentError, match="9 stages remain after fusing; expected at most 8"):
        Table.build(X, stages=[Clip()] * 9)
    assert not list(tmp_path.iterdir())


def test_info() -> None:
    info = Table.build(X, stages=[Center(), PCA(12), Clip()]).info()
    assert (info["input_dim"], info["dim"], info["query_stages"]) == (20, 12, [])
    assert [(stage["stage"], stage["input_dim"], stage["dim"]) for stage in info["stages"]] == [
        ("affine", 20, 12),
        ("clip", 12, 12),
    ]
    assert info["stages"][0]["of"][0] == "Center()"
    assert {name for name in info["sections"] if name.startswith("stage")} == {
        "stage0.matrix",
        "stage0.bias",
        "stage1.low",
        "stage1.high",
    }


class FakeEncoder:
    """Encodes a text, the number of a row, as that row of its vectors."""

    prompts: tuple[str, ...] = ()

    def __init__(self, name: str, x: Floats) -> None:
        self.fingerprint = {"model": name}
        self.dim = x.shape[1]
        self._x = x

    def differences(self, stored: dict[str, Any]) -> list[str]:
        keys = stored.keys() | self.fingerprint.keys()
        return sorted(key for key in keys if stored.get(key) != self.fingerprint.get(key))

    def encode(self, texts: list[str], prompt: str | None, dim: int | None) -> Floats:
        return self._x[[int(text) for text in texts], :dim]


def new_model(x: Floats) -> Floats:
    """Another model's vectors of the same texts."""
    return (x @ np.linalg.qr(np.random.default_rng(9).standard_normal((30, DIM)))[0].T).astype(np.float32)


@pytest.mark.parametrize("stages", [[], [Center(), PCA(12)]], ids=repr)
def test_queries_of_another_model(stages: list[Any], tmp_path: Path) -> None:
    old, new = FakeEncoder("old", X), FakeEncoder("new", new_model(X))
    table = Table.build(X, codec="float32", stages=stages, encoder=old)  # type: ignore[arg-type]
    stage = LinearMap.fit(new_model(X), X)
    mapped = table.map_queries(stage, encoder=new)  # type: ignore[arg-type]
    assert (mapped.input_dim, mapped.dim, table.input_dim) == (30, table.dim, DIM)
    want = table.search(stage.transform(new_model(Q)), 5)
    mapped.save(tmp_path / "mapped")
    for searched in (mapped, Table.open(tmp_path / "mapped")):
        same(searched.search(new_model(Q), 5), want)
        assert searched.search(["7"], 1, encoder=new).ids == 7  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="not the encoder that queries are mapped from: model differ"):
            searched.search(["7"], 1, encoder=old)  # type: ignore[arg-type]
        assert searched.encoder == old.fingerprint
        assert searched.info()["query_encoder"] == new.fingerprint
    np.testing.assert_array_equal(table.search(Q, 5).ids, want.ids)


def test_queries_are_mapped_twice(tmp_path: Path) -> None:
    table = Table.build(X, codec="float32")
    table.save(tmp_path / "table")
    first, second = LinearMap.fit(new_model(X), X), LinearMap.fit(3 * X, new_model(X))
    twice = Table.open(tmp_path / "table").map_queries(first).map_queries(second)
    twice.save(tmp_path / "twice")
    want = table.search(first.transform(second.transform(Q)), 5)
    same(Table.open(tmp_path / "twice").search(Q, 5), want)
    same(twice.search(Q, 5), want)
    twice.close()
    with pytest.raises(ArgumentError, match="closed"):
        twice.map_queries(second)


def test_queries_are_mapped_twice_by_stages_that_cannot_be_fused(tmp_path: Path) -> None:
    table = Table.build(X, codec="float32", stages=[Center()])
    first, second = LinearMap.fit(new_model(X), X), Clip(0.9).fit(new_model(X))
    table.map_queries(first).save(tmp_path / "once")
    for once in (table.map_queries(first), Table.open(tmp_path / "once")):
        once.map_queries(second).save(tmp_path / "twice")
        twice = Table.open(tmp_path / "twice")
        assert [stage["stage"] for stage in twice.info()["query_stages"]] == ["clip", "affine"]
        same(twice.search(new_model(Q), 5), once.search(second.transform(new_model(Q)), 5))


def test_refused_maps_of_queries(tmp_path: Path) -> None:
    table = Table.build(X)
    for stage, message in (
        (LinearMap.fit(X, new_model(X)), "expected a stage that gives the 20 dimensions of queries"),
        (PCA(8), "expected a fitted stage"),
        (OnnxStage(write_network(tmp_path / "net.onnx", WEIGHTS)).fit(X), "expected a fitted stage"),
    ):
        with pytest.raises(ArgumentError, match=message):
            table.map_queries(stage)  # type: ignore[arg-type]


def test_a_model_of_the_users(tmp_path: Path) -> None:
    net = write_network(tmp_path / "net.onnx", WEIGHTS)
    stage = OnnxStage(net)
    fitted = stage.fit(X)
    np.testing.assert_allclose(fitted.transform(X), np.tanh(X @ WEIGHTS), atol=1e-6)
    assert fitted.transform(X[:0]).shape == (0, 12)
    assert repr(fitted) == "<OnnxStage('net.onnx'): 20 to 12>"
    table = Table.build(X, codec="float32", stages=[stage, Center()], path=tmp_path / "table")
    want = table.search(Q, 5)
    same(Table.build(X, codec="float32", stages=[stage, Center()]).search(Q, 5), want)
    same(Table.open(tmp_path / "table", onnx=str(net)).search(Q, 5), want)
    mapped = table.map_queries(LinearMap.fit(new_model(X), X))
    np.testing.assert_array_equal(mapped.search(new_model(Q), 5).ids, want.ids)

    alone = Table.open(tmp_path / "table")
    assert (alone.input_dim, alone.info()["stages"][0]["name"]) == (DIM, "net.onnx")
    with pytest.raises(ArgumentError, match=r"went through the model 'net.onnx'.*Table.open\(..., onnx=path\)"):
        alone.search(Q)
    other = write_network(tmp_path / "other.onnx", 2 * WEIGHTS)
    with pytest.raises(ArgumentError, match=r"other.onnx has the SHA-256 .*; expected .*, that of 'net.onnx'"):
        Table.open(tmp_path / "table", onnx=other)
    Table.build(X).save(tmp_path / "plain")
    with pytest.raises(ArgumentError, match="no stage of the table runs a model"):
        Table.open(tmp_path / "plain", onnx=net)
    with pytest.raises(ArgumentError, match="stages holds two models"):
        Table.build(X, stages=[stage, OnnxStage(write_network(tmp_path / "b.onnx", WEIGHTS.T))])


def test_models_that_cannot_be_run(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot load"):
        OnnxStage(path)
    for options, message in (
        ({"rows": 4}, "fixes the number of rows to 4"),
        ({"floats": 10}, r"tensor\(float16\); expected one input and one output"),
        ({"outputs": 2}, "expected one input and one output"),
    ):
        with pytest.raises(ModelError, match=message):
            OnnxStage(write_network(path, WEIGHTS, **options))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cannot be run on rows of 7 floats"):
        OnnxStage(write_network(path, WEIGHTS)).fit(X[:, :7])
    endless = OnnxStage(write_network(path, np.full((DIM, 2), np.nan, np.float32))).fit(X)
    with pytest.raises(ArgumentError, match=r"the output of net.onnx holds"):
        endless.transform(X)


# ---- Files of a stranger


@pytest.fixture
def forged(tmp_path: Path) -> Forged:
    table = Table.build(X, codec="int8", stages=[PCA(12), Clip(), RandomRotation()])
    table.map_queries(LinearMap.fit(new_model(X), X)).save(tmp_path / "good")
    return Forged.read((tmp_path / "good").read_bytes())


def _stage(number: int, **changes: Any) -> Callable[[Forged], Any]:
    return lambda forged: forged.table["stages"][number].update(changes)


def _key(key: str, value: Any) -> Callable[[Forged], Any]:
    return lambda forged: forged.table.update({key: value})


def _piece(name: str, **changes: Any) -> Callable[[Forged], Any]:
    return lambda forged: vars(forged[name]).update(changes)


def _first_last(forged: Forged) -> None:
    forged.pieces["stage0.matrix"] = forged.pieces.pop("stage0.matrix")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (_key("stages", None), "its stages are None; expected a list"),
        (_key("stages", {}), "its stages are {}"),
        (_key("stages", [None]), "its stages are described by None"),
        (_key("stages", [{}] * 9), "expected a list of at most 8"),
        (_key("stages", []), "its query_stages do not take|its stages give 20 dimensions and its rows have 12"),
        (_key("query_stages", []), "its sections query0.bias, query0.matrix do not match"),
        (_key("query_stages", 5), "its query_stages are 5"),
        (_stage(0, stage="relative"), "its sections stage0.bias do not match"),
        (_stage(0, stage="dense"), "a stage 'dense', which this nestvec does not know"),
        (_stage(0, stage=["affine"]), "described by"),
        (_stage(0, dim=13), "do not take the dimensions that the stages before"),
        (_stage(0, input_dim=21), "do not take the dimensions that the stages before"),
        (_stage(0, input_dim=2**63), "a dimension 9223372036854775808"),
        (_stage(0, of="PCA"), "lacks the names"),
        (_stage(2, dim=13), "'rotation' takes 12 dimensions to 13"),
        (lambda forged: forged.table["stages"].pop(), "its sections stage2.signs do not match"),
        (lambda forged: forged.table["stages"].reverse(), "do not take the dimensions that the stages before"),
        (lambda forged: forged.pieces.pop("stage1.low"), "its sections stage1.low do not match"),
        (_piece("stage2.signs", shape=[2, 4]), "its sections stage2.signs do not match"),
        (_piece("stage1.low", dtype="U32"), "its sections stage1.low do not match"),
        (_first_last, "its sections are in the wrong order"),
    ],
)
def test_forged_descriptions(attack: Callable[[Forged], Any], message: str, forged: Forged, tmp_path: Path) -> None:
    attack(forged)
    (tmp_path / "bad").write_bytes(forged.write())
    with pytest.raises(TableFileError, match=message):
        Table.open(tmp_path / "bad")


@pytest.mark.parametrize("name", ["stage0.matrix", "stage0.bias", "stage1.high", "query0.bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_forged_values(name: str, value: float, forged: Forged, tmp_path: Path) -> None:
    values = np.frombuffer(forged[name].data, np.float32).copy()
    values[-1] = value
    forged[name].data = values.tobytes()
    (tmp_path / "bad").write_bytes(forged.write())
    with pytest.raises(TableFileError, match="holds values that it cannot have"):
        Table.open(tmp_path / "bad").search(new_model(Q))


def test_values_that_overflow_and_bytes_that_differ(forged: Forged, tmp_path: Path) -> None:
    good = forged.write()
    matrix = forged["stage0.matrix"].data
    forged["stage0.matrix"].data = np.full(len(matrix) // 4, 3e38, np.float32).tobytes()
    (tmp_path / "bad").write_bytes(forged.write())
    with pytest.raises(ArgumentError, match="queries holds"):  # infinite, once it went through the matrix
        Table.open(tmp_path / "bad").search(new_model(Q) * 1e3)
    at = good.index(matrix)
    (tmp_path / "bad").write_bytes(good[:at] + b"\x42" + good[at + 1 :])
    with pytest.raises(TableFileError, match="damaged"):
        Table.open(tmp_path / "bad").search(new_model(Q))
