"""A family that exists in this file alone is a codec like any other: its row is all that the package knows of it.

Over the module that NESTVEC_TEST_EXTRA_CORE names it is coded as int7, an encoding that exists in that module alone.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import typer
from every_codec import every_codec, scalar_quantizers
from typer.testing import CliRunner

import nestvec as nv
from nestvec.codecs import families
from nestvec.codecs.basis import Basis
from nestvec.codecs.codec import Codec, Family, Mark, encodings
from nestvec.errors import ArgumentError
from nestvec.tuning.candidates import plans
from nestvec.tuning.report.html import write_report
from nestvec.tuning.report.plots import draw, panels

Floats = npt.NDArray[np.float32]
EXTRA_CORE = os.environ.get("NESTVEC_TEST_EXTRA_CORE")
ENCODING = "int7" if "int7" in encodings() else "int8"


def fit_turned(codec: Codec, sample: Floats, seed: int, centred: bool) -> tuple[None, Basis]:
    """A random rotation."""
    dim = sample.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    return None, Basis(matrix=np.ascontiguousarray(rotation, np.float32))


TURNED = Family(
    name="turned",
    pattern="turned",
    names=("turned",),
    examples=("turned",),
    codes="a small integer a dimension after a random rotation, one scale a row",
    learns="nothing of the rows",
    scanned_with="the query in int8",
    source="",
    encoding=lambda match: ENCODING,
    mark=Mark("turned", "turned", ("#123456", "#fedcba"), corners=7, turned=0.5, size=1.1),
    offers=lambda dim, max_bytes: [(1, "turned"), (3, "binary+turned")],
    rotates=True,
    fit=fit_turned,
    fit_seconds=lambda codec: 0.1,
)


@pytest.fixture(autouse=True)
def _one_family_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, TURNED))


def rows(count: int = 300, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, 24)).astype(np.float32) + 0.2


def integers(x: Floats) -> tuple[Any, Any]:
    """The codes of rows, and their scales, as docs/format.md defines int8; int7 has 63 steps."""
    steps = 63 if ENCODING == "int7" else 127
    scales = np.abs(x).max(axis=1, keepdims=True) / np.float32(steps)
    return np.rint(x / scales), scales


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_a_table_is_built_saved_opened_and_searched(metric: str, tmp_path: Path) -> None:
    x, q = rows(), rows(9, 1)
    fitted = nv.fit("turned", x, metric=metric, seed=3)
    assert fitted.basis is not None
    given = x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x
    codes, scales = integers(fitted.basis.rows(given.astype(np.float32)))
    encoded = fitted.encode(x)
    assert (encoded.codes.view(np.int8) == codes).mean() > 0.999  # the last bit of the length may differ
    assert encoded.factors is not None
    np.testing.assert_allclose(encoded.factors, scales[:, 0], rtol=1e-6)
    table = nv.Table.build(x, codec="turned", metric=metric, seed=3)
    assert (table.codec, table.bytes_per_row) == ("turned", 24 + 4)
    np.testing.assert_array_equal(table.vectors(), fitted.decode(encoded))
    table.save(tmp_path / "table")
    exact = nv.Table.build(x, codec="float32", metric=metric).search(q, 10)
    with nv.Table.open(tmp_path / "table") as opened:
        hits = opened.search(q, 10)
    same = table.search(q, 10)
    assert (hits.ids.tolist(), hits.scores.tolist()) == (same.ids.tolist(), same.scores.tolist())
    np.testing.assert_allclose(hits.scores, exact.scores, atol=0.05 * np.abs(exact.scores).max())
    shared = [len(np.intersect1d(a, b)) for a, b in zip(hits.ids, exact.ids, strict=True)]
    assert np.mean(shared) > 8


@pytest.mark.parametrize("codecs", [("binary", "turned"), ("turned", "float32"), ("turned", "turned", "int8")])
def test_the_family_is_a_tier_of_a_cascade(codecs: tuple[str, ...], tmp_path: Path) -> None:
    x, q = rows(), rows(9, 1)
    table = nv.Table.build(x, codec=codecs, path=tmp_path / "table")
    hits = table.search(q, 5, oversample=60)
    last = nv.Table.build(x, codec=codecs[-1]).search(q, 5)
    if codecs[-1] == "float32":  # the others round a query that they are scanned with
        np.testing.assert_array_equal(hits.ids, last.ids)
    assert np.mean(hits.ids == last.ids) > 0.8
    assert table.search(q, 5, confidence=0.9).ids.shape == (9, 5)
    assert [stats.codec for stats in hits.stats] == list(codecs)


def test_refusals_name_the_codec() -> None:
    x = rows()
    with pytest.raises(ArgumentError, match="turned codes rotated rows, which cannot be cut"):
        nv.Table.build(x, codec="turned", dims=[8])
    with pytest.raises(ArgumentError, match=r"for a table of turned; leave it out: only binary and planes1"):
        nv.Table.build(x, codec="turned").search(x[:1], query="float")


def test_tune_measures_and_draws_the_family(tmp_path: Path) -> None:
    assert {("turned",), ("binary", "turned")} <= {plan.codec for plan in plans(24)}
    assert next(plan for plan in plans(24) if plan.codec == ("turned",)).seconds > 0
    result = nv.tune(rows(), rows(9, 1), codecs=["float32", "turned", "binary+turned"])
    assert {"turned", "binary + turned, oversample 4"} <= {measurement.name for measurement in result.measured}
    drawn: list[tuple[Any, ...]] = []

    class Sheet:
        def __getattr__(self, name: str) -> Any:
            return lambda *given, **how: drawn.append((name, *given))

    draw(panels(result)[0], Sheet(), 900, 560)  # type: ignore[arg-type]
    assert any(what == ("turned", "muted") for _, *rest in drawn for what in [tuple(rest[1:3])])  # in the legend
    marks = [given for given in drawn if given[0] == "polygon" and given[2] == "turned"]
    assert {len(corners) for _, corners, _ in marks} == {7}
    write_report(result, tmp_path / "report.html")
    assert "--turned:#123456;" in (tmp_path / "report.html").read_text()


def test_errors_and_help_name_the_family() -> None:
    expected = r"expected one of float32, .*, binary, turned; a product .*; planes1 to planes8$"
    with pytest.raises(ArgumentError, match=expected):
        nv.Table.build(rows(), codec="twisted")
    for command in ("build", "tune"):
        source = importlib.util.find_spec(f"nestvec.cli.commands.{command}")
        assert source is not None
        assert source.loader is not None
        module = importlib.util.module_from_spec(source)  # the loaded module's help is older
        source.loader.exec_module(module)
        app = typer.Typer()
        app.command()(getattr(module, command))
        output = CliRunner().invoke(app, ["--help"], terminal_width=400).output
        assert "planes1 to planes8, turned." in " ".join(output.replace("│", " ").split())


def test_the_lists_of_the_tests_have_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("every_codec.FAMILIES", families.FAMILIES)
    assert "turned" in {codec.name for codec in every_codec()}
    assert "turned" in scalar_quantizers()


def test_a_family_without_a_fit_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(TURNED, name="plain", pattern="plain", rotates=False, fit=None)
    monkeypatch.setattr(families, "FAMILIES", (plain, *families.FAMILIES))
    x = rows()
    fitted = nv.fit("plain", x, metric="ip")
    codes, _ = integers(x)
    np.testing.assert_array_equal(fitted.encode(x).codes.view(np.int8), codes)
    table = nv.Table.build(iter([x[:100], x[100:]]), codec="plain", metric="ip", dims=[8])
    assert table.search(x[:3], 1, dim=8).ids.shape == (3, 1)
    rescored = nv.Table.build(x, codec=("pq3x8", "plain"), metric="l2").search(x[:3], 1, oversample=300)
    assert rescored.ids[:, 0].tolist() == [0, 1, 2]


@pytest.mark.skipif(EXTRA_CORE is None, reason="it needs a module with an encoding that no other has")
def test_over_a_new_encoding() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NESTVEC_TEST_EXTRA_CORE"}
    environment["NESTVEC_TEST_CORE"] = str(EXTRA_CORE)
    checked = "import nestvec._core as core; assert [one.name for one in core.encodings()][-1] == 'int7'"
    script = f"import sys, pytest; import conftest; {checked}; sys.exit(pytest.main([{__file__!r}, '-q']))"
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), environment.get("PYTHONPATH")]))
    run = subprocess.run([sys.executable, "-c", script], env=environment | {"PYTHONPATH": paths}, check=False)
    assert run.returncode == 0
