"""Names of codecs, refused names, and the shapes of codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nestvec import Table
from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int8", "int4", "binary"])
def test_plain_names(name: str) -> None:
    codec = codec_named(name)
    assert (codec.name, codec.encoding, codec.sub_quantizers, codec.columns(70)) == (name, name, 0, 70)
    assert [codec_named(name).row_bytes(dim) for dim in (1, 8, 70)] == {
        "float32": [4, 32, 280],
        "float16": [2, 16, 140],
        "bfloat16": [2, 16, 140],
        "int8": [1, 8, 70],
        "int4": [1, 4, 35],
        "binary": [1, 1, 9],
    }[name]


@pytest.mark.parametrize(
    ("name", "encoding", "sub_quantizers", "row_bytes"),
    [("pq96x8", "pq8", 96, 96), ("pq1x8", "pq8", 1, 1), ("pq192x4", "pq4", 192, 96), ("pq7x4", "pq4", 7, 4)],
)
def test_product_quantizers(name: str, encoding: str, sub_quantizers: int, row_bytes: int) -> None:
    codec = codec_named(name)
    assert (codec.name, codec.encoding, codec.sub_quantizers) == (name, encoding, sub_quantizers)
    assert (codec.columns(768), codec.row_bytes(768)) == (sub_quantizers, row_bytes)
    assert codec.codebook_shape(768) == (768, 256 if encoding == "pq8" else 16)


def test_shapes_of_codes() -> None:
    assert codec_named("bfloat16").codes_shape(True, 65, 7) == ("BF16", (2, 4, 64, 2))
    assert codec_named("bfloat16").codes_shape(False, 65, 7) == ("BF16", (65, 7))
    assert codec_named("pq5x8").codes_shape(True, 65, 7) == ("U8", (2, 5, 64))
    assert codec_named("pq9x4").codes_shape(True, 64, 20) == ("U8", (1, 2, 64, 4))


WRONG = (
    "int5,,rabitq0,rabitq1,rabitq9,planes,planes0,planes9,opq,opqx8,"
    "pq,pq96,pq96x,pq96x6,pq0x8,pq08x8,pq-1x8,pq 96x8,PQ96x8,pq96x8 ,pq96x8\n,pq8,pq4,pq999999x8,pq٣x8,BF16"
)


@pytest.mark.parametrize("name", [*WRONG.split(","), None, 5, ["int8"], b"int8"])
def test_names_that_are_refused(name: Any) -> None:
    with pytest.raises(ArgumentError) as raised:
        codec_named(name)
    assert "expected one of float32, float16, bfloat16, int8, int4, binary; a product quantizer" in str(raised.value)
    assert "such as pq96x8" in str(raised.value)


def test_a_name_as_long_as_a_book_is_cut_in_the_message() -> None:
    with pytest.raises(ArgumentError) as raised:
        codec_named("x" * 100_000)
    assert len(str(raised.value)) < 400


def test_more_sub_quantizers_than_dimensions() -> None:
    with pytest.raises(
        ArgumentError, match=r"'pq9x8', whose 9 sub-quantizers cannot share out 8 dimensions; .* most 8"
    ):
        Table.build(np.eye(8), codec="pq9x8")
    assert Table.build(np.eye(8), codec="pq8x4").codec == "pq8x4"
