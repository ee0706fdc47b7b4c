"""Tables of compressed embeddings: build, save, open, search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array, as_index, as_name
from nestvec.base.checks import METRICS, one_of
from nestvec.base.device_array import moved, on_device
from nestvec.base.files import refuse_folder
from nestvec.base.types import Floats, SupportsEncode
from nestvec.codecs.fitted import CodecLike, FittedCodec, codecs_of
from nestvec.errors import ArgumentError
from nestvec.stages.chain import Fittable, Stages
from nestvec.stages.kinds import Stage
from nestvec.table.build import Ids, build_sections
from nestvec.table.filters import Filter, filter_words
from nestvec.table.formats.container import Sections
from nestvec.table.formats.v1 import ordered
from nestvec.table.formats.versions import open_table, write_table
from nestvec.table.hits import Hits, Texts
from nestvec.table.layout import Layout
from nestvec.table.queries import queries_from, query_vectors, rescoring_queries, search_plan
from nestvec.table.section_names import QUERY, split
from nestvec.table.state import TableState


class Table:
    """Rows of compressed embeddings with ids, searched exactly: the k best by (score, then smaller id).

    Make one with `Table.build` or `Table.open`. Searching is safe from many threads at once; the result is the same for
    any number of queries and threads and on any CPU.
    """

    def __init__(self, state: TableState, onnx: str | Path | None = None) -> None:
        """Use `Table.build` or `Table.open`. onnx: the file of a stage that runs a model."""
        self._state = state
        if onnx is not None:
            state.stages.bind(onnx)

    @classmethod
    def build(
        cls,
        x: ArrayInput | Iterable[ArrayInput],
        *,
        codec: CodecLike | Sequence[CodecLike] = "binary",
        rescore: CodecLike | None = None,
        fine: ArrayInput | Iterable[ArrayInput] | None = None,
        stages: Sequence[Fittable | Stage] = (),
        ids: Ids | None = None,
        dims: Sequence[int] = (),
        texts: Iterable[str] | None = None,
        metric: str = "cosine",
        seed: int = 0,
        encoder: SupportsEncode | None = None,
        path: str | Path | None = None,
    ) -> Table:
        """Encodes vectors into a table.

        x: (rows, dim) floats, or an iterator of such batches (or a list of 2-D arrays): then only one batch at a time
            is held. Values must be finite.
        codec: how rows are stored, one name or several from coarse to fine, ("binary", "int8", "float32"): the first is
            scanned, each that follows rescores with the float query what the one before it hands on (see
            `search(oversample=)`). docs/codecs.md has the names, their families and papers, `nestvec build --help` and
            the error for an unknown name list them: "binary" is 1 bit a dimension, scored by Hamming distance, "int8"
            8 bits with a scale per row, "pq96x8" a product quantizer of 96 bytes a row. Or a codec that was fitted
            before (`nestvec.fit`). Scores are inner products with what the codes stand for, exact as such.
        rescore: short for a second codec: codec="binary", rescore="int8" is codec=("binary", "int8").
        fine: other vectors of the same rows, (rows, other dim) or batches, from another model or of another length: the
            first codec codes x, all others code these (bi-granular retrieval). Searches need both kinds of queries.
        stages: what x goes through before any codec, and queries by themselves at every search: a list such as
            [nestvec.stages.Center(), nestvec.stages.PCA(128)], fitted in this order to the sample below. They are
            stored in the table, and `dim` and `dims` speak of what they give. A cosine scales to length 1 after them.
        ids: one unique integer from 0 for each row, by default the row's number.
        dims: nested (Matryoshka) dimensions that `search(dim=...)` will use, besides the full one. Cosine scores
            need them declared; binary scans and inner products may use any prefix. Product-quantized rows can be cut
            only for inner products, and only where one of their sub-quantizers ends; rotated rows not at all.
        texts: one string for each row, stored with it.
        metric: "cosine" scales rows and queries to length 1 (a zero vector scores 0); "ip" scores by inner product,
            "l2" by minus the square of the distance, which product quantizers are scanned by and others rescore by. A
            cosine with product-quantized rows has (1 - length^2) / 4 added, for the length that coding took off a row.
            A table of one tier of bits scores by Hamming distance whatever the metric, unless a search says
            query="float".
        seed: of what codecs draw at random as they are fitted. The same x and seed give the same table.
        encoder: the Encoder that made x; its fingerprint is stored, and `search(..., encoder=)` refuses another.
        path: write the table to this file as it is built, for one that does not fit into memory, and return it opened.
            Needs the table's size twice in that folder for a moment.

        Codecs are fitted to a sample, always the same for the same x. Of an array it is up to 65,536 rows, evenly
        spaced. Of an iterator it is the first 65,536, which are held as float32 until then (4 bytes a value; 8 while
        those of a cosine are fitted) and should be like the rest: where rows come sorted, by topic, date or language,
        what was learned does not suit what comes late, and recall suffers. Shuffle the rows then, or give one array.

        Raises `ArgumentError`; OSError where `path` cannot be written, and the file that was there stays.
        """
        codecs = codecs_of(codec, rescore)
        one_of(metric, "metric", METRICS)
        target = None if path is None else Path(path)
        if target is not None:
            refuse_folder(target)

        def layout_of(dim: int, fine_dim: int | None) -> Layout:
            names = [one.codec if isinstance(one, FittedCodec) else one for one in codecs]
            return Layout.of(dim, dims, metric, names, fine_dim)

        directory = None if target is None else target.resolve().parent
        description, fitted, sections = build_sections(
            x, fine, stages, layout_of, codecs, ids, texts, directory, as_index(seed, "seed", 0, 2**63 - 1)
        )
        if encoder is not None:
            description = replace(description, encoder=encoder.fingerprint)
        onnx = fitted.model.path if fitted.model else None
        if target is None:
            return cls(TableState(description, Sections(sections)), onnx)
        write_table(target, description, sections)
        return cls.open(target, onnx=onnx)

    @classmethod
    def open(cls, path: str | Path, *, onnx: str | Path | None = None) -> Table:
        """Maps a table file; its data is read, and compared with its checksums, as searches use it.

        onnx: for a table that was built with the stage `nestvec.stages.OnnxStage`, its model; the file has to have the
            SHA-256 that the table remembers. Raises `ArgumentError` for another, and where the table has no such stage.

        The file must not be written to while it is open; `save` replaces files, which is safe. Raises `TableFileError`
        for a file that is truncated, damaged or no table, here or at first use; OSError where it cannot be read.
        """
        return cls(TableState(*open_table(Path(path))), onnx)

    def map_queries(self, stage: Stage, *, encoder: SupportsEncode | None = None) -> Table:
        """A table over the same rows whose queries come from another model; they are not encoded or copied again.

        stage: takes queries to what they are now, such as `nestvec.stages.LinearMap.fit(new, old)`. Saved with the
            table it is applied by every search; on a table with stages it comes before them.
        encoder: the new model, whose fingerprint is stored, and `search(..., encoder=)` refuses another.

        Raises `ArgumentError` for a stage that is not fitted, gives another dimension, or runs a model.
        """
        state = self._state
        sections, stages = state.segment.sections, state.stages
        described, added = stages.mapped(stage, self.input_dim)
        fingerprint = None if encoder is None else encoder.fingerprint
        description = replace(state.description, query_stages=described, query_encoder=fingerprint)
        rows = {name: section for name, section in sections.items() if split(name)[0] != QUERY}
        merged = Sections(ordered({**rows, **added}), sections.region, sections.own | added.keys())
        # The rows are the same, on the device where they are.
        return Table(TableState(description, merged, self.device, state.searcher()), stages.model_path)

    def to(self, device: str, *, memory: int | None = None) -> Table:
        """A table over the same rows that is searched on another device, with the same hits; both can be used.

        device: "cuda", "cuda:1" for a GPU by its number, or "cpu".
        memory: bytes of the device's memory that the rows may take; by default nine tenths of what is free. The tiers
            are taken there from the one that is scanned to the finest. A scanned tier that does not fit stays in main
            memory or in its file, and is streamed to the device at every search; tiers that rescore and do not fit are
            left to the CPU. `info` says where each of them lies.

        A file's rows are read, and compared with their checksums, as they are taken to the device. `close` frees the
        device memory. Raises `DeviceError` for a device that cannot be used, or whose memory does not suffice,
        `ArgumentError`, and `TableFileError` where the file proves damaged.
        """
        state = self._state
        sections, stages = state.segment.sections, state.stages
        name = _core.device_name(as_name(device, "device"))
        most = None if memory is None else as_index(memory, "memory", 1, 2**63 - 1)
        if name == "cpu" and most is not None:
            raise ArgumentError(f"memory is {memory}, and device is 'cpu'; leave it out: rows stay where they are")
        target = TableState(state.description, sections, name)
        table = Table(target, stages.model_path)
        target.searcher(most)
        return table

    def save(self, path: str | Path) -> None:
        """Writes the table to a file, in one step: a crash or a full disk leaves what was there. Raises OSError."""
        sections = self._state.segment.sections
        for name in sections:
            sections.verified(name)
        write_table(Path(path), self._state.description, sections)

    def search(
        self,
        queries: ArrayInput | str | Sequence[str],
        k: int = 10,
        *,
        fine: ArrayInput | None = None,
        dim: int | None = None,
        oversample: int | Sequence[int] | None = None,
        confidence: float | None = None,
        query: str | None = None,
        filter: Filter | None = None,
        threads: int | None = None,
        encoder: SupportsEncode | None = None,
    ) -> Hits:
        """Finds the k best rows for each query.

        queries: (queries, dim) floats, or (dim,) for one; or a declared prefix of as many columns. With stages they
            have `input_dim` columns, as they come from the model. With `encoder`, a string or a list of strings,
            encoded with the model's "query" prompt if it has one.
        k: at least 1; the result has min(k, rows) columns.
        fine: for a table that was built with fine=, the queries of its second vectors, as many.
        dim: scan only the first `dim` dimensions, at that share of the cost; by default all the query has. Rescoring
            uses all the query has.
        oversample: each tier hands `oversample * k` rows on to the next: one number for all, or one for each tier but
            the last. By default 4; with `confidence` 32.
        confidence: rescore only as many rows as it takes: a tier is done with a query once so large a share of the k
            best, of all that were handed on, can be expected to be found. 0.5 to below 1, for instance 0.99;
            `oversample` stays the most. What to expect is learned at the first such search from rows of the table,
            taken as queries; for queries that are unlike the rows it may be too hopeful.
        query: what the first tier is scanned with, where there is a choice. "codes": the query's own codes: for
            binary tables, where it is the default, its bits, by Hamming distance; for planes<b> its planes. "float":
            the query as it is, by its inner product with what the rows' codes stand for, bits as 1 and -1 (for a
            cosine, divided by the square root of the dimension). Only the rows lose precision then (an asymmetric
            distance: Gordo, Perronnin, Gong, Lazebnik 2014), so recall is better at the same bytes, for a slower scan
            of bits. Where nothing rescores, scores of a binary table are then float32, larger is better, and
            `hits.metric` is "cosine" or "ip".
        filter: the rows to consider. For all queries: a boolean mask (rows,), or ids (n,) that the table holds. For
            each query its own: a mask (queries, rows), or a list with as many arrays of ids as there are queries. Or
            `Bits`, a mask that is packed already. Blocks of 64 rows without any of them are not read.
        threads: at most this many, by default all that the process may use.

        Queries may be arrays on the table's device, of any library with DLPack or the CUDA array interface; the hits
        are `DeviceArray`s then. The queries, a small part of a search's work, are brought to main memory on the way:
        there they are checked, mapped, and laid out as each tier reads them.

        Returns `Hits`; `hits.stats` says what each tier did. Raises `ArgumentError` for queries that do not fit, also
        NaN or infinite ones, for a filter that does not, or that names ids the table does not hold, and for an encoder
        other than the one that made the table; `TableFileError` where the file proves damaged.
        """
        queries_on_device = on_device(queries) or on_device(fine)
        if queries_on_device:
            queries, fine = queries_from(self.device, queries, fine)
        state = self._state
        description, layout = state.description, state.description.layout
        vectors = query_vectors(queries, encoder, description)
        vectors = state.stages.queries(vectors, threads)
        plan = search_plan(
            layout,
            vectors.shape[1],
            k=k,
            dim=dim,
            oversample=oversample,
            confidence=confidence,
            query=query,
            threads=threads,
        )
        rescoring = rescoring_queries(layout, fine, vectors)
        segment = state.segment  # before the search: another thread may close the table in the middle of it
        words = None if filter is None else filter_words(filter, segment.ids, segment.rows, len(vectors))
        scores, ids, stats = state.searcher().search(vectors, rescoring, plan, words)
        if queries_on_device:
            scores, ids = moved((scores, ids), self.device)
        metric = layout.metric if plan.float_query else layout.score_metric
        return Hits(scores, ids, metric, stats, None if segment.texts is None else segment.texts.look_up)

    def vectors(self, ids: ArrayInput | None = None, *, tier: int = -1) -> Floats:
        """What the codes of rows stand for: (rows, dim) float32, for a cosine of about length 1.

        ids: (rows,) ids that the table holds; by default all rows, in their order. tier: 0 is the one that is scanned,
            -1 the finest. Raises `ArgumentError` for unknown ids and tiers.
        """
        segment = self._state.segment
        number = as_index(tier, "tier", -len(self.codecs), len(self.codecs) - 1) % len(self.codecs)
        rows = np.arange(segment.rows, dtype=np.int64)
        if ids is not None:
            wanted = as_array(ids, "ids")
            if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
                raise ArgumentError(
                    f"ids has the shape {wanted.shape} and dtype {wanted.dtype}; expected integers (n,)"
                )
            rows = segment.ids.rows_of(wanted.astype(np.int64))
            if (rows < 0).any():
                raise ArgumentError(f"the table holds no row with the id {wanted[rows < 0][0]}")
        return self._state.searcher().vectors(number, rows)

    def texts(self, ids: ArrayInput) -> Texts:
        """The stored texts of ids of shape (queries, k), None for the id -1. Raises `ArgumentError` for unknown ids."""
        texts = self._state.segment.texts
        if texts is None:
            raise ArgumentError("this table stores no texts; pass texts= to Table.build")
        array = as_array(ids, "ids")
        if array.ndim != 2 or (array.size and array.dtype.kind not in "iu"):
            raise ArgumentError(
                f"ids has the shape {array.shape} and dtype {array.dtype}; expected integers (queries, k)"
            )
        return texts.look_up(array.astype(np.int64))

    @property
    def device(self) -> str:
        """Where it is searched: "cpu", or "cuda:0" for instance."""
        return self._state.device

    @property
    def rows(self) -> int:
        """How many rows the table holds."""
        return self._state.description.rows

    @property
    def dim(self) -> int:
        """How many dimensions a row has, after the stages."""
        return self._state.description.layout.dim

    @property
    def input_dim(self) -> int:
        """How many dimensions queries have: `dim`, unless stages take them from another number to it."""
        return self._state.description.input_dim

    @property
    def stages(self) -> Stages:
        """What queries go through before the codecs; rows went through all but what `map_queries` added."""
        return self._state.stages.ready()

    @property
    def dims(self) -> tuple[int, ...]:
        """The declared dimensions, rising; the last is `dim`."""
        return self._state.description.layout.dims

    @property
    def fine_dim(self) -> int | None:
        """How many dimensions the second vectors have, where the table was built with fine=."""
        return self._state.description.layout.fine_dim

    @property
    def codec(self) -> str:
        """The codec of the tier that is scanned."""
        return self.codecs[0]

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of all tiers, from the one that is scanned to the finest."""
        return self._state.description.layout.names

    @property
    def rescore(self) -> str | None:
        """The codec of the tier that rescores, if there is one; the first of them, where there are several."""
        return self.codecs[1] if len(self.codecs) > 1 else None

    @property
    def metric(self) -> str:
        """What scores are: "cosine", "ip", or "hamming" for a binary table that is not rescored."""
        return self._state.description.layout.score_metric

    @property
    def encoder(self) -> dict[str, Any] | None:
        """The fingerprint of the encoder that made the rows, if it was given to `build`."""
        return self._state.description.fingerprint

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The id of each row, (rows,) int64, read-only."""
        stored = self._state.segment.ids.stored()
        return np.arange(self.rows, dtype=np.int64) if stored is None else stored

    @property
    def has_texts(self) -> bool:
        """Whether texts are stored with the rows."""
        return self._state.segment.texts is not None

    @property
    def nbytes(self) -> int:
        """Bytes of all sections: codes, codebook, factors, ids and texts."""
        return self._state.segment.nbytes

    @property
    def bytes_per_row(self) -> float:
        """Bytes of codes and factors per row, over all tiers; without what codecs learned, and without padding."""
        return self._state.bytes_per_row

    @property
    def codebook_bytes(self) -> int:
        """Bytes of what codecs and stages learned, whatever the number of rows: centroids, levels, means, rotations."""
        return self._state.segment.learned_bytes

    def info(self) -> dict[str, Any]:
        """What the table holds, as plain values: rows, dims, codecs, bytes of each section, the encoder, the device.

        "placed" says of each tier where it lies: "cpu", a device, or for one that is streamed "cpu to cuda:0", and how
        many bytes of device memory it takes.
        """
        return self._state.info()

    def close(self) -> None:
        """Ends the table's use. Its file or memory is let go once no array and no hit from it is in use."""
        self._state.close()

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.rows

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Table cannot be copied or pickled; save it, and open the file where it is needed")

    def __repr__(self) -> str:
        codec = repr(self.codecs[0] if len(self.codecs) == 1 else self.codecs)
        where = "" if self.device == "cpu" else f", device={self.device!r}"
        return f"Table(rows={self.rows}, dim={self.dim}, codec={codec}, metric={self.metric!r}{where})"
