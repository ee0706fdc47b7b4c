"""Tables on a device: the placement of tiers, the types of queries and results, and refused arguments."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_arrays import DLPackArray, InterfaceArray

import nestvec as nv
from nestvec.base.device_array import DeviceArray
from nestvec.errors import ArgumentError, DeviceError, TableFileError

needs_cuda = pytest.mark.skipif("cuda" not in nv.backends(), reason="no CUDA device, nor an emulated one")

X = np.random.default_rng(5).standard_normal((700, 48), dtype=np.float32)
Q = X[:9] + np.float32(0.25) * X[100:109]
TIERS = ("binary", "int8", "float32")


def build(codec: Any = TIERS, **options: Any) -> nv.Table:
    """A table on the CPU, whatever device the tests' tables are taken to."""
    return nv.Table.build(X, codec=codec, **options).to("cpu")


def bytes_of(table: nv.Table, tier: int) -> int:
    sections = table.info()["sections"]
    return sum(section["bytes"] for name, section in sections.items() if name.startswith(f"tier{tier}."))


def check_same(found: nv.Hits, expected: nv.Hits) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.metric == expected.metric


@pytest.mark.skipif("cuda" in nv.backends(), reason="this machine has a CUDA device, or an emulated one")
def test_without_cuda() -> None:
    with pytest.raises(DeviceError, match='device is "cuda"'):
        build().to("cuda")


def test_to_the_cpu_and_invalid_devices() -> None:
    table = build()
    again = table.to("cpu")
    assert (table.device, again.device) == ("cpu", "cpu")
    assert "device" not in repr(again)
    assert again.info()["placed"] == [{"device": "cpu", "bytes": 0}] * 3
    check_same(again.search(Q), table.search(Q))
    for device in ("gpu", "cuda:", "cuda:x", "cpu:0", "CUDA", "", "cuda:-1", "cuda:99999999"):
        with pytest.raises(ArgumentError, match=r'device is ".*"; expected "cpu", "cuda", or "cuda:1"'):
            table.to(device)
    with pytest.raises(ArgumentError, match="device is None; expected a string"):
        table.to(None)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="memory is 5, and device is 'cpu'; leave it out"):
        table.to("cpu", memory=5)
    table.close()
    with pytest.raises(ArgumentError, match="this table is closed"):
        table.to("cpu")


@needs_cuda
def test_all_tiers_on_the_device() -> None:
    table = build(ids=np.arange(700)[::-1].copy(), texts=[f"text {row}" for row in range(700)])
    on_device = table.to("cuda")
    assert (on_device.device, table.device) == ("cuda:0", "cpu")
    assert repr(on_device).endswith(", device='cuda:0')")
    info = on_device.info()
    assert info["device"] == "cuda:0"
    assert [tier["device"] for tier in info["placed"]] == ["cuda:0"] * 3
    for tier, placed in enumerate(info["placed"]):
        assert placed["bytes"] >= bytes_of(table, tier)
    check_same(on_device.search(Q, 20), table.search(Q, 20))
    assert on_device.search(Q[0], 3).texts == table.search(Q[0], 3).texts
    back = on_device.to("cpu")
    check_same(back.search(Q, 20), table.search(Q, 20))
    assert on_device.to("cuda:1").device == "cuda:1"
    np.testing.assert_array_equal(on_device.vectors([3, 5]), table.vectors([3, 5]))


@needs_cuda
def test_tiers_that_do_not_fit() -> None:
    table = build()
    sizes = [tier["bytes"] for tier in table.to("cuda").info()["placed"]]
    for fitting in (1, 2):
        on_device = table.to("cuda", memory=sum(sizes[:fitting]))
        devices = [tier["device"] for tier in on_device.info()["placed"]]
        assert devices == ["cuda:0"] * fitting + ["cpu"] * (3 - fitting)
        check_same(on_device.search(Q, 15), table.search(Q, 15))


@needs_cuda
@pytest.mark.parametrize("codec", ["int8", ("binary", "int8")])
def test_a_tier_that_is_streamed(codec: Any, tmp_path: Path) -> None:
    large = np.random.default_rng(6).standard_normal((20_000, 48), dtype=np.float32)
    table = nv.Table.build(large, codec=codec, path=tmp_path / "t.safetensors").to("cpu")
    memory = bytes_of(table, 0) * 3 // 4
    on_device = table.to("cuda", memory=memory)
    placed = on_device.info()["placed"]
    assert [tier["device"] for tier in placed] == ["cpu to cuda:0", "cpu"][: len(placed)]
    assert sum(tier["bytes"] for tier in placed) <= memory
    check_same(on_device.search(Q, 15), table.search(Q, 15))


@needs_cuda
def test_invalid_memory() -> None:
    for memory in (0, -1, 1.5, "all", True):
        with pytest.raises(ArgumentError, match="memory is"):
            build().to("cuda", memory=memory)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r'device is "cuda:63", and this machine has \d+ CUDA devices'):
        build().to("cuda:63")


def free_bytes(folder: Path) -> int:
    """The free bytes of the first device, as an error names them."""
    with (folder / "holes").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DeviceError) as caught:
        DeviceArray(np.memmap(folder / "holes", np.int8, mode="r"))
    found = re.search(r"and (\d+) bytes .* are free", str(caught.value))
    assert found is not None
    return int(found[1])


@needs_cuda
def test_closing_frees_the_memory(tmp_path: Path) -> None:
    table = build("float32")
    before = []
    for _ in range(2):  # the first round allocates the working memory of the device, which is kept
        before.append(free_bytes(tmp_path))
        on_device = table.to("cuda")
        on_device.search(Q)
        placed = on_device.info()["placed"][0]["bytes"]
        assert placed >= bytes_of(table, 0)
        assert free_bytes(tmp_path) <= before[-1] - placed
        on_device.close()
        with pytest.raises(ArgumentError, match="this table is closed"):
            on_device.search(Q)
        gc.collect()
    assert free_bytes(tmp_path) == before[1]


@needs_cuda
@pytest.mark.parametrize("kind", [DeviceArray, DLPackArray, InterfaceArray])
def test_queries_on_the_device(kind: Any) -> None:
    table = build(TIERS, dims=(16, 32))
    on_device = table.to("cuda")
    for queries in (Q, Q[0], Q[:0], Q[:, :16], Q.astype(np.float16)):
        found, expected = on_device.search(kind(DeviceArray(queries)), 5), table.search(queries, 5)
        assert isinstance(found.scores, DeviceArray)
        assert isinstance(found.ids, DeviceArray)
        assert (found.ids.device, len(found)) == ("cuda:0", len(expected))
        np.testing.assert_array_equal(found.ids.numpy(), expected.ids)
        np.testing.assert_array_equal(found.scores.numpy(), expected.scores)


@needs_cuda
def test_queries_of_bfloat16() -> None:
    halves = (Q.view(np.uint32) >> 16).astype(np.uint16)
    rounded = (halves.astype(np.uint32) << 16).view(np.float32)
    found = build().to("cuda").search(DLPackArray(DeviceArray(halves), "bfloat16"), 5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.ids.numpy(), build().search(rounded, 5).ids)  # type: ignore[attr-defined]


@needs_cuda
def test_second_queries_and_texts_on_the_device() -> None:
    fine = np.random.default_rng(8).standard_normal((700, 20), dtype=np.float32)
    table = build(("binary", "int8"), fine=fine, texts=[f"text {row}" for row in range(700)])
    on_device = table.to("cuda")
    found, expected = on_device.search(DeviceArray(Q), 5, fine=DeviceArray(fine[:9])), table.search(Q, 5, fine=fine[:9])
    np.testing.assert_array_equal(found.ids.numpy(), expected.ids)  # type: ignore[attr-defined]
    assert found.texts == expected.texts
    with pytest.raises(ArgumentError, match="queries on cuda:0 and fine on the CPU"):
        on_device.search(DeviceArray(Q), 5, fine=fine[:9])


@needs_cuda
def test_queries_on_another_device() -> None:
    table = build()
    with pytest.raises(
        ArgumentError, match=r"queries are on cuda:0, and this table is on cpu; search table\.to\('cuda:0'\)"
    ):
        table.search(DeviceArray(Q))
    with pytest.raises(ArgumentError, match="queries are on cuda:1, and this table is on cuda:0"):
        table.to("cuda").search(DeviceArray(Q, "cuda:1"))


@needs_cuda
@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (Q[:, :5], "queries have 5 columns; expected the table's 48"),
        (Q.astype(np.float64), "queries has the dtype float64; expected float32, float16, bfloat16: convert it"),
        (Q.astype(np.int64), "queries has the dtype int64"),
        (Q[None], r"queries has the shape \(1, 9, 48\)"),
        (np.full_like(Q, np.nan), "NaN or infinite"),
    ],
)
def test_queries_on_the_device_that_are_refused(queries: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build().to("cuda").search(DeviceArray(queries))


@needs_cuda
def test_filters_and_other_arrays_stay_on_the_cpu() -> None:
    on_device = build().to("cuda")
    with pytest.raises(ArgumentError, match=r"filter of type DeviceArray cannot be read as an array .*\.numpy\(\)"):
        on_device.search(Q, filter=DeviceArray(np.ones(700, bool)))
    mask = np.arange(700) % 7 == 0
    check_same(on_device.search(Q, 200, filter=mask), build().search(Q, 200, filter=mask))


@needs_cuda
def test_k_above_the_rows_and_no_rows() -> None:
    table = build()
    check_same(table.to("cuda").search(Q, 5000), table.search(Q, 5000))
    empty = nv.Table.build(X[:0], codec=TIERS).to("cpu")
    check_same(empty.to("cuda").search(Q, 3), empty.search(Q, 3))


@needs_cuda
def test_damage_shows_as_a_table_goes_to_the_device(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    build("float32").save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableFileError, match="the table is damaged: bytes"):
        nv.Table.open(path).to("cuda")


@needs_cuda
def test_mapped_queries_share_the_placed_tiers() -> None:
    stage = nv.stages.LinearMap.fit(X, X)
    on_device = build(("binary", "int8")).to("cuda")
    mapped = on_device.map_queries(stage)
    assert mapped.device == "cuda:0"
    assert mapped.info()["placed"] == on_device.info()["placed"]
    on_device.close()
    check_same(mapped.search(Q, 5), build(("binary", "int8")).map_queries(stage).search(Q, 5))


@needs_cuda
def test_confidence_and_float_queries() -> None:
    table = build()
    on_device = table.to("cuda")
    for options in ({"confidence": 0.9}, {"query": "float"}, {"oversample": [8, 2]}):
        check_same(on_device.search(Q, 6, **options), table.search(Q, 6, **options))  # type: ignore[arg-type]
