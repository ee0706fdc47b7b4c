"""Files of a stranger: every checksum is right, but nestvec did not write the content.

A search may find nothing sensible in them. It must end, stay within its memory, and return well-formed results or a
documented error.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forge import Forged, signed

from nestvec import Table
from nestvec.errors import ArgumentError, TableFileError

ROWS, DIM = 200, 19
QUERIES = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)

OpenForged = Callable[[Forged], Table]

FLOATS = (float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-45, -0.0)


@pytest.fixture
def opened(tmp_path: Path) -> OpenForged:
    def open_forged(forged: Forged) -> Table:
        path = tmp_path / "table"
        path.write_bytes(forged.write())
        return Table.open(path)

    return open_forged


def table_file(tmp_path: Path, codec: str, rescore: str | None = None, **options: Any) -> Forged:
    x = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    options = {"ids": range(1000, 1000 + ROWS), "texts": [f"{row:03}" for row in range(ROWS)], **options}
    Table.build(x, codec=codec, rescore=rescore, **options).save(tmp_path / "good")
    return Forged.read((tmp_path / "good").read_bytes())


def check_well_formed(table: Table) -> None:
    ids = {-1, *table.ids.tolist()}
    for k, threads in product((1, 10, ROWS, 10 * ROWS), (1, 2)):
        hits = table.search(QUERIES, k, threads=threads)
        assert hits.ids.shape == hits.scores.shape == (len(QUERIES), min(k, ROWS))
        assert set(hits.ids.ravel().tolist()) <= ids
        assert (hits.ids[np.isnan(hits.scores)] == -1).all()
        falling = -hits.scores if table.metric == "hamming" else hits.scores
        for line in falling:
            found = line[~np.isnan(line)]
            assert np.all(found[:-1] >= found[1:])


def floats_of(dtype: str, value: float, count: int) -> bytes:
    with np.errstate(over="ignore"):
        if dtype == "BF16":
            return np.full(count, value, np.float32).view(np.uint16)[1::2].tobytes()
        return np.full(count, value, np.float16 if dtype == "F16" else np.float32).tobytes()


@pytest.mark.parametrize("value", FLOATS, ids=str)
@pytest.mark.parametrize("section", ["tier0.codes", "tier0.factors", "tier1.codes", "tier1.factors"])
@pytest.mark.parametrize("codec", ["float32", "float16", "bfloat16", "int8"])
def test_values_no_codec_writes(codec: str, section: str, value: float, tmp_path: Path, opened: OpenForged) -> None:
    forged = table_file(tmp_path, codec, codec)
    piece = forged[section]
    whole = piece.data
    if piece.dtype == "I8":
        for byte in (b"\x80", b"\x7f", b"\0"):
            piece.data = byte * len(whole)
            check_well_formed(opened(forged))
        return
    size = 2 if piece.dtype.endswith("16") else 4
    piece.data = floats_of(piece.dtype, value, len(whole) // size)
    check_well_formed(opened(forged))
    piece.data = b"".join(  # every third value, among good values
        floats_of(piece.dtype, value, 1) if at % 3 == 0 else whole[at * size : at * size + size]
        for at in range(len(whole) // size)
    )
    check_well_formed(opened(forged))


@pytest.mark.parametrize("seed", range(12))
def test_noise(seed: int, tmp_path: Path, opened: OpenForged) -> None:
    rng = np.random.default_rng(seed)
    codec = ("binary", "float32", "float16", "int8", "bfloat16", "pq5x8", "pq7x4")[seed % 7]
    forged = table_file(tmp_path, codec, (None, "float32", "int8")[seed % 3], metric=("ip", "cosine")[seed % 2])
    for name in forged.pieces:
        if name.startswith("tier") and name not in ("tier0.codebook", "tier0.center"):
            forged[name].data = rng.bytes(len(forged[name].data))
    check_well_formed(opened(forged))


@pytest.mark.parametrize("codec", ["pq5x8", "pq7x4"])
class TestCodebooks:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("at", [0, 100, -1])
    def test_nan_and_infinity(self, codec: str, value: float, at: int, tmp_path: Path, opened: OpenForged) -> None:
        forged = table_file(tmp_path, codec)
        centroids = np.frombuffer(forged["tier0.codebook"].data, np.float32).copy()
        centroids[at] = value
        forged["tier0.codebook"].data = centroids.tobytes()
        table = opened(forged)
        for _ in range(2):
            with pytest.raises(
                TableFileError, match=r"damaged: the codebook holds 1 of \d+ values that are NaN or inf"
            ):
                table.search(QUERIES)

    @pytest.mark.parametrize("value", [0, 1e-45, 1e-38, 1e10, -1e18, 1e30, 3e38])
    def test_numbers_that_no_training_gives(self, codec: str, value: float, tmp_path: Path, opened: OpenForged) -> None:
        forged = table_file(tmp_path, codec)
        whole = np.frombuffer(forged["tier0.codebook"].data, np.float32)
        for step in (1, 3):
            centroids = whole.copy()
            centroids[::step] = value
            forged["tier0.codebook"].data = centroids.tobytes()
            table = opened(forged)
            if value >= 1e30:  # the squares of such lengths are part of the scores
                with pytest.raises(ArgumentError, match="can leave the range of float32"):
                    table.search(QUERIES)
            else:
                check_well_formed(table)

    def test_the_length_is_not_taken_from_the_description(self, codec: str, tmp_path: Path, opened: OpenForged) -> None:
        forged = table_file(tmp_path, codec)
        expected = opened(forged).search(QUERIES, 50)
        for bound in (0, 1e300):
            forged.table["tiers"][0]["longest_row"] = bound
            for array, expected_array in zip(opened(forged).search(QUERIES, 50), expected, strict=True):
                np.testing.assert_array_equal(array, expected_array)

    def test_codes_beyond_the_sub_quantizers_do_not_count(self, codec: str, tmp_path: Path, opened: OpenForged) -> None:
        forged = table_file(tmp_path, codec)
        expected = opened(forged).search(QUERIES, 50)
        if codec == "pq7x4":  # half of every fourth byte is beyond sub-quantizer 7
            codes = np.frombuffer(forged["tier0.codes"].data, np.uint8).copy()
            codes[3::4] |= 0xF0
            forged["tier0.codes"].data = codes.tobytes()
        for array, expected_array in zip(opened(forged).search(QUERIES, 50), expected, strict=True):
            np.testing.assert_array_equal(array, expected_array)

    def test_another_shape(self, codec: str, tmp_path: Path, opened: OpenForged) -> None:
        good = table_file(tmp_path, codec, "int8", metric="ip")
        dim, count = good["tier0.codebook"].shape

        def refused(message: str, change: Callable[[Forged], Any]) -> None:
            forged = good.copy()
            change(forged)
            with pytest.raises(TableFileError, match=message):
                opened(forged)

        match, described = r"sections tier\d.* do not match", "description of the table is incomplete or contradicts"
        refused(match, lambda forged: forged.pieces.pop("tier0.codebook"))
        refused(match, lambda forged: vars(forged["tier0.codebook"]).update(shape=[count, dim]))
        refused(match, lambda forged: vars(forged["tier0.codebook"]).update(shape=[dim * count]))
        refused(match, lambda forged: vars(forged["tier0.codebook"]).update(dtype="U32"))
        refused(match, lambda forged: vars(forged["tier0.codebook"]).update(shape=[dim], data=bytes(4 * dim)))
        for name in ("pq4x8", "pq19x8", "pq9x4", "pq19x4", "int8", "binary"):
            refused(match, lambda forged, name=name: forged.table["tiers"][0].update(codec=name))
        for name in ("pq20x8", "pq99999x4"):
            refused(described, lambda forged, name=name: forged.table["tiers"][0].update(codec=name))
        refused(match, lambda forged: forged.table["tiers"][1].update(codec=codec))
        refused(described, lambda forged: forged.table.update(dims=[4, dim]))  # no sub-quantizer ends at it
        refused(described, lambda forged: forged.table.update(dims=[16, dim], metric="cosine"))
        refused(match, lambda forged: forged.table.update(dims=[16 if codec == "pq7x4" else 15, dim]))  # no factors


@pytest.mark.parametrize("bound", [0, 1e-300, 1e30, 1e300, 1.7e308])
def test_invalid_lengths(bound: float, tmp_path: Path, opened: OpenForged) -> None:
    # It bounds the rounding error of the scan. If too small, neighbours may change order; if too large, it is refused.
    for codec in ("float32", "float16", "int8"):
        forged = table_file(tmp_path, codec, "float32")
        for tier in (0, 1):
            forged.table["tiers"][tier]["longest_row"] = bound
        table = opened(forged)
        if bound >= 1e300:
            with pytest.raises(ArgumentError, match="can leave the range of float32"):
                table.search(QUERIES)
        else:
            check_well_formed(table)


def test_bits_beyond_the_dimension_do_not_count(tmp_path: Path, opened: OpenForged) -> None:
    forged = table_file(tmp_path, "binary")
    expected = opened(forged).search(QUERIES, 50)
    words = np.frombuffer(forged["tier0.codes"].data, np.uint8).reshape(-1, 8).copy()
    words[:, 2] |= 0x1F  # the last 5 bits of the third byte are beyond 19
    words[:, 3:] = 0xFF
    forged["tier0.codes"].data = words.tobytes()
    for array, expected_array in zip(opened(forged).search(QUERIES, 50), expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)


@pytest.mark.parametrize(
    "ids", [[7] * ROWS, [-1] * ROWS, [*range(ROWS - 1), 0], [-(2**63)] * ROWS, [2**63 - 1 - row for row in range(ROWS)]]
)
def test_invalid_ids(ids: list[int], tmp_path: Path, opened: OpenForged) -> None:
    for codec, rescore in (("binary", "int8"), ("float32", None)):
        forged = table_file(tmp_path, codec, rescore)
        forged["ids"].data = struct.pack(f"<{ROWS}q", *ids)
        table = opened(forged)
        check_well_formed(table)
        hits = table.search(QUERIES, 5, filter=sorted({ids[0], ids[-1]}))
        assert set(hits.ids.ravel().tolist()) <= {ids[0], ids[-1], -1}
        assert len(hits.texts) == len(QUERIES)


@pytest.mark.parametrize(
    "offsets",
    [
        [0] + [601] * ROWS,
        [-1] * (ROWS + 1),
        [2**63 - 1] * (ROWS + 1),
        [-(2**63)] + [600] * ROWS,
        [600 - row for row in range(ROWS + 1)],
        [1 << 40] + [0] * ROWS,
    ],
)
def test_offsets_that_lead_out_of_the_texts(offsets: list[int], tmp_path: Path, opened: OpenForged) -> None:
    forged = table_file(tmp_path, "binary")
    forged["texts.offsets"].data = struct.pack(f"<{ROWS + 1}q", *offsets)
    with pytest.raises(TableFileError, match="offsets of its texts are invalid"):
        opened(forged).texts([[1000]])


def test_texts_that_are_not_utf8_are_replaced_and_any_split_is_read(tmp_path: Path, opened: OpenForged) -> None:
    forged = table_file(tmp_path, "binary")
    forged["texts.bytes"].data = b"\xff" * 600
    assert opened(forged).texts([[1000, 1199]]) == [["\ufffd" * 3] * 2]
    forged["texts.offsets"].data = struct.pack(f"<{ROWS + 1}q", *[0] * ROWS, 600)
    assert opened(forged).texts([[1000, 1199]]) == [["", "\ufffd" * 600]]


@pytest.mark.parametrize("encoder", [5, "x", [], {}, {"a": {"b": None}}, 10**400, float("nan")])
def test_any_fingerprint_is_only_compared(encoder: Any, tmp_path: Path, opened: OpenForged) -> None:
    forged = table_file(tmp_path, "binary")
    forged.table["encoder"] = encoder
    table = opened(forged)
    assert table.encoder == (encoder if isinstance(encoder, dict) else None)
    check_well_formed(table)


def test_a_description_with_more_in_it_is_read(tmp_path: Path, opened: OpenForged) -> None:
    forged = table_file(tmp_path, "binary")
    forged.table["note"] = "made by another program"
    forged.metadata["author"] = "somebody"
    table = opened(forged)
    check_well_formed(table)
    table.save(tmp_path / "again")
    assert json.loads(Forged.read((tmp_path / "again").read_bytes()).metadata["table"])["note"] == forged.table["note"]


def test_changing_random_bytes_never_gets_past_the_checks(tmp_path: Path) -> None:
    # Signed again after every change: only the reader's checks are left to catch it.
    forged = table_file(tmp_path, "binary", "int8")
    content = forged.write()
    rng = np.random.default_rng(7)
    (length,) = struct.unpack_from("<Q", content)
    path = tmp_path / "table"
    path.write_bytes(content)
    opened = 0
    with path.open("r+b", buffering=0) as file:
        for _ in range(1500):
            header = bytearray(content[8 : 8 + length])
            for _ in range(rng.integers(1, 4)):
                header[rng.integers(0, length)] = rng.choice(list(b'0123456789[]{}":,.-eE \\abtrue\xff\x00'))
            os.pwrite(file.fileno(), signed(bytes(header)), 8)
            try:
                table = Table.open(path)
                opened += 1
                check_well_formed(table)
            except (TableFileError, ArgumentError):
                continue
    assert opened < 100  # the change is in the blanks at the end, or in a number that nothing contradicts
