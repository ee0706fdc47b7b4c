"""The rows of the families: each is complete, agrees with its encodings, and has golden files and documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from every_codec import every_codec
from golden import FOLDER, GOLDENS

from nestvec.codecs.codec import Codec, Family, encodings
from nestvec.codecs.families import FAMILIES
from nestvec.codecs.names import codec_named

ROOT = Path(__file__).parents[3]
EVERY = every_codec(sizes=(1, 7), bits=range(1, 9))
BY_NAME = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_no_name_belongs_to_two_families() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for codec in EVERY:
        assert [family for family in FAMILIES if family.codec(codec.name)] == [codec.family]


@BY_NAME
def test_examples_belong_to_their_family(family: Family) -> None:
    assert family.examples
    for name in family.examples:
        assert codec_named(name).family is family
    for name in family.names:  # a codec, or "pq<m>x8", or "planes1 to planes8"
        for example in re.sub("<m>", "12", name).split(" to "):
            assert codec_named(example).family is family


@pytest.mark.parametrize("codec", EVERY, ids=lambda codec: codec.name)
def test_a_family_agrees_with_its_encoding(codec: Codec) -> None:
    traits, family = encodings()[codec.encoding], codec.family
    assert (codec.sub_quantizers > 0) == (traits.meaning == "centroids")
    assert bool(family.queries) == traits.two_ways(family.scaled)
    assert set(family.queries) in ({"codes", "float"}, set())
    assert family.fit is not None or (traits.meaning in ("values", "signs") and not family.rotates)
    if traits.meaning in ("centroids", "levels"):
        assert codec.bits > 0
    assert (family.fit_seconds(codec) > 0.1) == (family.rotates or codec.sub_quantizers > 0)


@BY_NAME
def test_tune_is_offered_codecs(family: Family) -> None:
    offers = list(family.offers(384, 60))
    assert any("+" not in tiers for _, tiers in offers)
    for turn, tiers in offers:
        assert 0 <= turn <= 4
        assert family in [codec_named(tier).family for tier in tiers.split("+")]


def test_marks_differ() -> None:
    marks = dict.fromkeys(family.mark for family in FAMILIES)
    assert len({mark.name for mark in marks}) == len(marks)
    assert len({mark.colours for mark in marks}) == len(marks)
    assert len({(mark.corners, mark.turned) for mark in marks}) == len(marks)
    for mark in marks:
        assert re.fullmatch("[a-z]+", mark.name)  # of a custom property of CSS
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in mark.colours)


@BY_NAME
def test_every_encoding_of_a_family_has_a_golden_table(family: Family) -> None:
    wanted = {codec.encoding for codec in EVERY if codec.family is family}
    if family.name == "float":
        assert wanted == {"float32", "float16", "bfloat16"}
    found = set()
    for name, golden in GOLDENS.items():
        codec = codec_named(golden.codec if isinstance(golden.codec, str) else golden.codec[0])
        if codec.family is family and isinstance(golden.codec, str) and (FOLDER / f"{name}.safetensors").is_file():
            found.add(codec.encoding)
    assert found == wanted


def test_the_documentation_has_the_table_of_families() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / ".ci" / "codec_table"], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    assert f"-->\n{made}<!--" in (ROOT / "docs" / "codecs.md").read_text(encoding="utf-8")


def test_families_are_loaded_without_their_fits() -> None:
    script = "import sys, nestvec.codecs.names; print('numpy' in sys.modules, 'nestvec._core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == (
        "False False\n"
    )
