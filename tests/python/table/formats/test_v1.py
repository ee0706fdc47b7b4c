"""Version 1: the sections that a description asks for, in the order of docs/format.md, item 4."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nestvec import Table, stages
from nestvec.errors import TableFileError
from nestvec.table.formats import v1
from nestvec.table.formats.container import Container, Sections, open_container

X = np.random.default_rng(0).standard_normal((70, 12)).astype(np.float32)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    fitted = [stages.Clip().fit(X), stages.RandomRotation().fit(X)]
    options = {"codec": ("rabitq", "pq3x4", "int8"), "stages": fitted, "ids": range(70), "texts": ["é"] * 70}
    Table.build(X, **options).map_queries(stages.LinearMap.fit(X, X)).save(tmp_path / "table")  # type: ignore[arg-type]
    return open_container(tmp_path / "table", [v1.VERSION])


def test_the_order(container: Container) -> None:
    names = list(container.sections)
    assert names == [
        # multiples of 64 bytes
        *("tier0.codes", "tier0.factors", "tier0.squares", "tier1.codebook", "tier2.factors"),
        *("ids", "texts.offsets"),  # 8 bytes a number
        *("tier0.codebook", "tier0.center", "tier0.rotation", "tier1.center"),  # 4 bytes
        *("stage0.low", "stage0.high", "query0.matrix", "query0.bias"),
        *("tier1.codes", "tier2.codes", "stage1.signs", "texts.bytes"),  # 1 byte
    ]
    shuffled = {name: container.sections[name] for name in sorted(names)}
    assert list(v1.ordered(shuffled)) == names


def with_sections(container: Container, names: Iterable[str]) -> Container:
    sections = container.sections
    return Container("1", container.description, Sections({name: sections[name] for name in names}, sections.region))


def test_another_order_is_refused(container: Container) -> None:
    first, second, *others = container.sections
    for names in ([second, first, *others], [*others, first, second]):
        with pytest.raises(TableFileError, match="its sections are in the wrong order: "):
            v1.read(with_sections(container, names))
    assert v1.read(with_sections(container, [first, second, *others]))[1] == container.sections


def test_every_section_is_asked_for(container: Container) -> None:
    optional = {"ids", "tier0.squares", "tier1.center"}  # tables from before product quantizers were centred lack them
    for name in container.sections:
        other = with_sections(container, [kept for kept in container.sections if kept != name])
        if name in optional:
            v1.read(other)
            continue
        with pytest.raises(TableFileError, match=r"its sections .* do not match its description of the table"):
            v1.read(other)


def test_the_squares_of_cosines_are_those_of_centred_rows(container: Container) -> None:
    without = {"tier0.squares", "tier0.center"}
    v1.read(with_sections(container, [name for name in container.sections if name not in without]))
    with pytest.raises(TableFileError, match=r"its sections tier0.squares do not match"):
        v1.read(with_sections(container, [name for name in container.sections if name != "tier0.center"]))


@pytest.mark.parametrize(("codec", "dims"), [("int8", ()), ("binary", ()), ("float32", ()), ("int4", (4,))])
def test_codecs_that_learn_no_mean_have_none(codec: str, dims: tuple[int, ...], tmp_path: Path) -> None:
    Table.build(X, codec=codec, dims=dims).save(tmp_path / "table")
    Table.build(X, codec="pq3x4").save(tmp_path / "centred")
    plain, centred = (open_container(tmp_path / name, [v1.VERSION]) for name in ("table", "centred"))
    more = {**plain.sections, "tier0.center": centred.sections["tier0.center"]}
    sections = Sections(v1.ordered(more), plain.sections.region)
    with pytest.raises(TableFileError, match=r"its sections tier0.center do not match"):
        v1.read(Container("1", plain.description, sections))
