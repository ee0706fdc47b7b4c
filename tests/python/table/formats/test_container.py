"""The file: its bytes, which safetensors reads, its map, and the detection of any damage."""

from __future__ import annotations

import errno
import os
import resource
import struct
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attacks import ATTACKS, Attack
from forge import CHUNK, Forged, crc32c
from safetensors import deserialize, safe_open

from nestvec import Table, _core
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table.formats import container as table_file

Open = Callable[[bytes], Table]
KINDS = (
    *product(
        ("float32", "float16", "bfloat16", "int8", "binary"), (None, "float32", "bfloat16", "int8"), ("cosine", "ip")
    ),
    *product(("pq3x8", "pq5x4"), (None, "float16"), ("cosine", "ip")),
)
ROWS, DIM = 70, 12


def small_table() -> Table:
    x = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    texts = [f"text {row}" for row in range(ROWS)]
    return Table.build(x, rescore="int8", dims=(4,), ids=range(5, ROWS + 5), texts=texts)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "table"
    small_table().save(path)
    return path.read_bytes()


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens a file of the given content."""

    def open_content(content: bytes) -> Table:
        path = tmp_path / "table.safetensors"
        path.write_bytes(content)
        return Table.open(path)

    return open_content


def use(table: Table) -> None:
    """Calls everything that a table offers."""
    queries = np.random.default_rng(1).standard_normal((3, DIM))
    assert table.search(queries, 4).texts[0][0] is not None
    table.search(queries[:, :4], ROWS, filter=table.ids)
    table.texts(table.ids[None])


def prefixes(codec: str, dim: int) -> tuple[int, ...]:
    """A declared dimension, for codecs that have prefixes with every metric."""
    return () if codec.startswith("pq") else (dim,)


class TestContainer:
    @pytest.mark.parametrize(("codec", "rescore", "metric"), KINDS)
    def test_safetensors_reads_a_table(self, codec: str, rescore: str | None, metric: str, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        x = rng.standard_normal((ROWS, 33)).astype(np.float32)
        options: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric, "dims": prefixes(codec, 8)}
        table = Table.build(x, ids=rng.permutation(ROWS), texts=["é"] * ROWS, **options)
        path = tmp_path / "table.safetensors"
        table.save(path)
        tensors = dict(deserialize(path.read_bytes()))
        sections = table._state.segment.sections
        assert tensors.keys() == {*sections, "checksums"}
        for name, section in sections.items():
            tensor = tensors[name]
            assert (tensor["dtype"], tuple(tensor["shape"])) == (section.dtype, section.shape)
            assert bytes(tensor["data"]) == section.data.tobytes()
        with safe_open(path, framework="np") as file:
            assert file.metadata()["format"] == "nestvec-table"
            assert file.metadata()["version"] == "1"

    @pytest.mark.parametrize(("codec", "rescore", "metric"), KINDS)
    def test_sections_are_aligned_views_of_one_array(
        self, codec: str, rescore: str | None, metric: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "table"
        x = np.ones((67, 33), np.float32)
        Table.build(x, codec=codec, rescore=rescore, metric=metric, texts=["a"] * 67, ids=range(67)).save(path)
        (length,) = struct.unpack("<Q", path.read_bytes()[:8])
        assert (8 + length) % 64 == 0
        table = Table.open(path)
        owners = set()
        for name, section in table._state.segment.sections.items():
            first = name in ("tier0.codes", "tier0.codebook", "tier0.factors", "tier1.factors")
            alignment = 64 if first else section.array().itemsize
            assert section.data.ctypes.data % alignment == 0
            assert np.shares_memory(section.array(), section.data)
            owner = section.data
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            owners.add(id(owner))
        assert len(owners) == 1

    @pytest.mark.parametrize(("codec", "rescore", "metric"), KINDS)
    def test_open_and_save_give_the_same_bytes(
        self, codec: str, rescore: str | None, metric: str, tmp_path: Path
    ) -> None:
        x = np.random.default_rng(2).standard_normal((130, 9)).astype(np.float32)
        dims = prefixes(codec, 4)
        built = Table.build(x, codec=codec, rescore=rescore, metric=metric, dims=dims, texts=["x", ""] * 65)
        built.save(tmp_path / "first")
        table = Table.open(tmp_path / "first")
        assert table.info() == built.info()
        for array, expected in zip(table.search(x[:5], 9), built.search(x[:5], 9), strict=True):
            np.testing.assert_array_equal(array, expected)
        table.save(tmp_path / "second")
        table.save(tmp_path / "first")  # over itself
        assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()
        np.testing.assert_array_equal(table.search(x[:5], 9).ids, built.search(x[:5], 9).ids)

    def test_a_file_written_by_hand_has_the_same_bytes(self, good: bytes) -> None:
        assert Forged.read(good).write() == good

    def test_the_first_file_of_this_version_stays_readable(self, tmp_path: Path) -> None:
        # Saved from kept_table() by the first version that wrote format version 1.
        kept = Path(__file__).parents[3] / "format" / "version1.safetensors"
        kept_table().save(tmp_path / "table")
        assert (tmp_path / "table").read_bytes() == kept.read_bytes()
        hits = Table.open(kept).search(np.array([1.0, -2, 3, -4, 5]), 2)
        assert (hits.ids.tolist(), hits.texts) == ([[11, 12]], [["un", "deux"]])
        np.testing.assert_allclose(hits.scores, [[1, 19 / 55]], atol=0.01)

    def test_the_first_file_with_a_codebook_stays_readable(self) -> None:
        # Saved from kept_table(codec="pq5x4", rescore="bfloat16", dims=(), metric="ip") by the first version that had
        # these codecs. The result of training may change; the content of the file may not.
        kept = Path(__file__).parents[3] / "format" / "version1_pq.safetensors"
        table = Table.open(kept)
        hits = table.search(np.array([1.0, -2, 3, -4, 5]), 2)
        assert (hits.scores.tolist(), hits.ids.tolist(), hits.texts) == ([[55, 19]], [[11, 12]], [["un", "deux"]])
        expected = kept_table(codec="pq5x4", rescore="bfloat16", dims=(), metric="ip").info()
        center = expected["sections"].pop("tier0.center")  # tables have it since
        expected["bytes"] -= center["bytes"]
        expected["codebook_bytes"] -= center["bytes"]
        assert table.info() == expected

    def test_checksums(self) -> None:
        assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
        rng = np.random.default_rng(3)
        for size in (0, 1, 8, 100, CHUNK - 1, CHUNK, CHUNK + 1, 17 * CHUNK + 3):
            data = rng.integers(0, 256, size, np.uint8)
            found = _core.checksums(data)
            assert len(found) == -(-size // CHUNK)
            for chunk in {0, len(found) - 1} & set(range(len(found))):
                assert found[chunk] == crc32c(data[chunk * CHUNK : (chunk + 1) * CHUNK].tobytes())


def kept_table(**options: Any) -> Table:
    x = np.array([[1, -2, 3, -4, 5], [5, 4, 3, -2, 1], [-1, 1, -1, 1, -1]], np.float32)
    texts = ["un", "deux", "trois"]
    return Table.build(x, ids=[11, 12, 13], texts=texts, **{"rescore": "int8", "dims": (2,), **options})


class TestDamage:
    @pytest.mark.parametrize("attack", ATTACKS, ids=[attack[0] for attack in ATTACKS])
    def test_attack(self, attack: Attack, good: bytes, opened: Open) -> None:
        _, change, message = attack
        with pytest.raises(TableFileError, match=message) as raised:
            opened(change(Forged.read(good)))
        assert "table.safetensors: " in str(raised.value)

    def test_every_length_of_a_truncated_file(self, good: bytes, opened: Open) -> None:
        (header,) = struct.unpack_from("<Q", good)
        for length in range(0, len(good), 7):
            message = r"holds [0-7] bytes|truncated or no" if length < 8 + header else "is truncated: the section"
            with pytest.raises(TableFileError, match=message):
                opened(good[:length])

    def test_every_byte_of_the_header(self, good: bytes, tmp_path: Path) -> None:
        (length,) = struct.unpack_from("<Q", good)
        path = tmp_path / "table"
        path.write_bytes(good)
        with path.open("r+b", buffering=0) as file:
            for at, flip in product(range(8 + length), (0x01, 0x20, 0x80)):
                os.pwrite(file.fileno(), bytes([good[at] ^ flip]), at)
                with pytest.raises(TableFileError):
                    Table.open(path)
                os.pwrite(file.fileno(), good[at : at + 1], at)
        use(Table.open(path))

    def test_bytes_of_the_data_are_found_at_first_use(self, good: bytes, opened: Open) -> None:
        (length,) = struct.unpack_from("<Q", good)
        use(opened(good))
        for at in range(8 + length, len(good), 13):
            content = bytearray(good)
            content[at] ^= 0x10
            table = opened(bytes(content))
            for _ in range(2):  # at every use, not only the first
                with pytest.raises(TableFileError, match=r"damaged: bytes 0 to \d+ of its data differ"):
                    use(table)
            with pytest.raises(TableFileError, match="damaged"):
                table.save("/dev/null/never")

    def test_only_used_chunks_are_read(self, tmp_path: Path) -> None:
        # Each section is several chunks of 65,536 bytes: only a call that reads a damaged chunk finds the damage.
        rows, dim = 4096, 256
        x = np.random.default_rng(4).standard_normal((rows, dim)).astype(np.float32)
        path = tmp_path / "table"
        Table.build(x, rescore="float32", ids=range(rows), texts=["t" * 32] * rows).save(path)
        content = path.read_bytes()
        forged = Forged.read(content)
        begins, at = {}, len(content) - len(forged.checksums().data) - sum(len(forged[n].data) for n in forged.pieces)
        for name in forged.pieces:
            begins[name], at = at, at + len(forged[name].data)

        def damaged(name: str, byte: int) -> Table:
            changed = bytearray(content)
            changed[begins[name] + byte] ^= 1
            path.write_bytes(changed)
            return Table.open(path)

        whole, row, text = 1000, 3000, ["t" * 32]
        table = damaged("tier1.codes", row * dim * 4)
        assert table.search(x[whole], 1, filter=[whole]).texts == [text]
        with pytest.raises(TableFileError, match="differ from their checksum"):
            table.search(x[row], 1, filter=[row])
        table = damaged("texts.bytes", row * 32)
        assert table.search(x[whole], 1).texts == [text]
        hits = table.search(x[row], 1)
        assert hits.ids.tolist() == [[row]]
        with pytest.raises(TableFileError, match="differ from their checksum"):
            _ = hits.texts
        table = damaged("texts.offsets", 8 * rows)
        hits = table.search(x[whole], 1, filter=[whole])
        assert hits.ids.tolist() == [[whole]]
        with pytest.raises(TableFileError, match="differ from their checksum"):
            _ = hits.texts
        for name in ("tier0.codes", "tier1.factors", "ids"):
            table = damaged(name, len(forged[name].data) - 1)
            with pytest.raises(TableFileError, match="differ from their checksum"):
                table.search(x[whole], 1, filter=[whole])

    def test_paths_that_hold_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Table.open(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            Table.open(tmp_path)


@pytest.mark.parametrize("rows", [10, 20_000])
def test_more_tables_are_open_than_descriptors(tmp_path: Path, rows: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, 32)).astype(np.float32)
    Table.build(x, codec="int8", path=tmp_path / "table")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 256), before[1]))
    try:
        tables = [Table.open(tmp_path / "table") for _ in range(600)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    (tmp_path / "table").unlink()
    assert {table.search(x[7], 1).ids.item() for table in tables[::50]} == {7}


class TestSaving:
    @pytest.fixture
    def folder(self, tmp_path: Path, good: bytes) -> Iterator[Path]:
        """A folder with a table, which must hold nothing else in the end."""
        (tmp_path / "table").write_bytes(good)
        yield tmp_path
        assert (tmp_path / "table").read_bytes() == good
        assert [entry.name for entry in tmp_path.iterdir()] == ["table"]

    @pytest.mark.parametrize("limit", [0, 1, 100, 5000, 100_000, 1 << 20])
    def test_a_disk_that_is_full(self, folder: Path, limit: int) -> None:
        table = Table.build(np.ones((1000, 300), np.float32), codec="float32")  # 1.2 MB
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # a write ends early, then another fails
        try:
            with pytest.raises(OSError, match=f"Errno {errno.EFBIG}"):
                table.save(folder / "table")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()])
    @pytest.mark.parametrize(
        "step",
        [
            "table.formats.container.write_all",
            "table.formats.container._fill",
            "table.formats.container._core.checksums",
            "base.files.os.fsync",
            "base.files.Path.replace",
        ],
    )
    def test_an_error_at_any_step(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        table = small_table()
        monkeypatch.setattr(f"nestvec.{step}", fail)
        with pytest.raises(type(error)):
            table.save(folder / "table")
        monkeypatch.undo()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_is_read_only(self, folder: Path) -> None:
        folder.chmod(0o500)
        try:
            with pytest.raises(PermissionError):
                small_table().save(folder / "table")
        finally:
            folder.chmod(0o700)

    def test_other_places_that_cannot_be_written(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        table = small_table()
        monkeypatch.chdir(folder)
        for path in (folder, ".", ""):
            with pytest.raises(IsADirectoryError):
                table.save(path)
        with pytest.raises(FileNotFoundError):
            table.save(folder / "missing" / "table")
        with pytest.raises(NotADirectoryError):
            table.save(folder / "table" / "table")

    def test_a_description_that_no_reader_would_take(self, folder: Path) -> None:
        encoder: Any = SimpleNamespace(fingerprint={"prompts": "p" * (1 << 20)})
        table = Table.build(np.ones((3, 4)), encoder=encoder)
        with pytest.raises(ArgumentError, match=r"description takes 10.* bytes; expected at most 1048576"):
            table.save(folder / "table")

    def test_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        table = small_table()
        for name in ("plain", "with space.safetensors", "é", "n" * 255, ".hidden"):
            table.save(name)
            assert Table.open(str(tmp_path / name)).rows == ROWS
            Path(name).unlink()
        assert list(tmp_path.iterdir()) == []

    def test_a_write_that_ends_early_goes_on(self, tmp_path: Path) -> None:
        class Slow:
            """Takes 3 bytes at a time."""

            content = b""

            def write(self, data: memoryview) -> int:
                self.content += bytes(data[:3])
                return len(data[:3])

        slow = Slow()
        table_file.write_all(slow, memoryview(b"0123456789"))  # type: ignore[arg-type]
        assert slow.content == b"0123456789"


def test_the_table_outlives_its_file(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "table"
    path.write_bytes(good)
    table = Table.open(path)
    path.unlink()
    use(table)
    ids = table.ids
    table.close()
    assert ids[0] == 5
