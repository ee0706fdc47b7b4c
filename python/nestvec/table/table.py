"""Tables of compressed embeddings: build, save, open, search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array, as_index, as_name
from nestvec.base.checks import METRICS, one_of
from nestvec.base.device_array import moved, on_device
from nestvec.base.files import destination
from nestvec.base.types import Floats, SupportsEncode
from nestvec.codecs.fitted import CodecLike, FittedCodec, codecs_of
from nestvec.errors import ArgumentError
from nestvec.stages.chain import Fittable, Stages
from nestvec.stages.kinds import Stage
from nestvec.table.build import Ids, build_sections
from nestvec.table.filters import Filter, compiled_filter
from nestvec.table.formats.container import Sections
from nestvec.table.formats.v1 import ordered
from nestvec.table.formats.versions import open_table, write_table
from nestvec.table.hits import Hits, RangeHits, Texts, clamp_cosines, drop_below, least_score
from nestvec.table.layout import Layout
from nestvec.table.queries import Queries, SearchOptions, queries_from, query_vectors, rescoring_queries, search_plan
from nestvec.table.section_names import QUERY, split
from nestvec.table.state import TableState

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Table:
    """Rows of compressed embeddings with ids, searched exactly: the k best by (score, then smaller id).

    `Table.build` and `Table.open` make tables. Searches are safe from many threads at once; the result is the same for
    any number of queries and threads and on any CPU.
    """

    def __init__(self, state: TableState, onnx: str | Path | None = None) -> None:
        """Call `Table.build` or `Table.open` instead. onnx: the file of the stage that runs a model."""
        self._state = state
        if onnx is not None:
            state.stages.bind(onnx)

    @classmethod
    def build(
        cls,
        x: ArrayInput | Iterable[ArrayInput],
        *,
        codec: CodecLike | Sequence[CodecLike] | None = None,
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

        x: (rows, dim) floats, or an iterator of such batches (or a list of 2-D arrays), which is read a batch at a
            time. Or a column of lists of pandas, polars or pyarrow. Values must be finite.
        codec: the codec of each tier: a name, or names from coarse to fine, such as ("binary", "int8", "float32"). The
            first tier is scanned. Each following tier rescores the candidates of the tier before it with the float
            query (see `search(oversample=)`). "binary" is 1 bit a dimension, scored by Hamming distance, "int8" 8 bits
            a dimension and a scale per row, "pq96x8" a product quantizer of 96 bytes a row. docs/codecs.md has all
            names with their families and papers; `nestvec build --help` and the error for an unknown name list them. A
            fitted codec (`nestvec.fit`) may replace a name. Scores are exact inner products with decoded rows. By
            default "int8", which loses hardly any neighbour of any model at a quarter of the bytes; with `rescore`
            "binary".
        rescore: short for a second codec: codec="binary", rescore="int8" is codec=("binary", "int8").
        fine: second vectors of the same rows, (rows, other dim) or batches, from another model or of another length.
            The first codec codes x, all others code these (bi-granular retrieval). Searches need both kinds of queries.
        stages: maps of x before all codecs, such as [nestvec.stages.Center(), nestvec.stages.PCA(128)], fitted in this
            order to the sample below. They are stored in the table, and every search applies them to its queries. `dim`
            and `dims` count dimensions after the stages. A cosine scales to length 1 after them.
        ids: a unique integer from 0 for each row, by default the row's number. A list, an array, a column of pandas,
            polars or pyarrow without nulls, or another iterable with an order.
        dims: nested (Matryoshka) dimensions for `search(dim=...)`, besides the full dimension. Cosine scores need them
            declared; binary scans and inner products may use any prefix. Product-quantized rows can be cut only for
            inner products, and only at the end of a sub-quantizer; rotated rows cannot be cut.
        texts: a string for each row, stored with the row; given as ids are.
        metric: "cosine" scales rows and queries to length 1 (a zero vector scores 0). "ip" scores by inner product.
            "l2" scores by minus the squared distance, with every codec but binary, whose bits keep no length; prefixes
            have to be declared in `dims`. Cosines of product-quantized rows have (1 - length^2) / 4 added, because
            coding shortens rows. A table whose only tier is binary scores by Hamming distance with every metric,
            unless a search has query="float".
        seed: for the random numbers of fits. The same x and seed give the same table.
        encoder: the Encoder that made x. Its fingerprint is stored, and `search(..., encoder=)` refuses other encoders.
        path: write the table to this file during the build, for tables larger than memory, and return it opened. The
            folder needs twice the table's size for a moment.

        Codecs are fitted to a sample, always the same for the same x. Of an array it is up to 65,536 evenly spaced
        rows. Of an iterator it is the first 65,536 rows, held as float32 (4 bytes a value; 8 while codecs are fitted
        for a cosine). These rows should be like the rest: if rows are sorted by topic, date or language, the codecs
        fit the later rows badly, and recall falls. Then shuffle the rows, or give an array.

        Raises `ArgumentError`; OSError if `path` cannot be written, and the file keeps its old content.
        """
        codecs = codecs_of(codec, rescore)
        one_of(metric, "metric", METRICS)
        target = None if path is None else destination(Path(path))

        def layout_of(dim: int, fine_dim: int | None) -> Layout:
            plain = [given.codec if isinstance(given, FittedCodec) else given for given in codecs]
            return Layout.of(dim, dims, metric, plain, fine_dim)

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
        """Maps a table file; its data is read, and compared with its checksums, when searches use it.

        onnx: for a table that was built with the stage `nestvec.stages.OnnxStage`, the model of the stage. Raises
            `ArgumentError` if its SHA-256 is not that in the table, or if the table has no such stage.

        The file must not be written to while it is open; `save` replaces files, which is safe. Raises `TableFileError`
        for a file that is truncated, damaged or no table, here or at first use; OSError if it cannot be read.
        """
        return cls(TableState(*open_table(Path(path))), onnx)

    def map_queries(self, stage: Stage, *, encoder: SupportsEncode | None = None) -> Table:
        """A table over the same rows whose queries come from another model. Rows are neither encoded again nor copied.

        stage: maps the new queries into the space of the present queries, such as
            `nestvec.stages.LinearMap.fit(new, old)`. It is saved with the table, and every search applies it, before
            the stages of the table.
        encoder: the new model. Its fingerprint is stored, and `search(..., encoder=)` refuses other encoders.

        Raises `ArgumentError` for a stage that is not fitted, gives another dimension, or runs a model.
        """
        state = self._state
        sections, stages = state.segment.sections, state.stages
        described, added = stages.mapped(stage, self.input_dim)
        fingerprint = None if encoder is None else encoder.fingerprint
        description = replace(state.description, query_stages=described, query_encoder=fingerprint)
        rows = {name: section for name, section in sections.items() if split(name)[0] != QUERY}
        merged = Sections(ordered({**rows, **added}), sections.region, sections.outside | added.keys())
        # The rows are the same, and stay on their device.
        return Table(TableState(description, merged, self.device, state.searcher()), stages.model_path)

    def to(self, device: str, *, memory: int | None = None) -> Table:
        """A table over the same rows that is searched on another device, with the same hits. Both can be used.

        device: "cuda", "cuda:1" for a GPU by its number, or "cpu".
        memory: bytes of the device's memory that the rows may take; by default nine tenths of the free memory. Tiers
            are copied to the device from coarse to fine. If the scanned tier does not fit, it stays in main memory or
            in its file, and every search streams it to the device. A rescoring tier that does not fit stays on the CPU.
            `info` has the placement of each tier.

        The rows of a file are read, and compared with their checksums, when they are copied to the device. `close`
        frees the device memory. Raises `DeviceError` for a device that cannot be used, or has not enough memory,
        `ArgumentError`, and `TableFileError` if the file proves damaged.
        """
        state = self._state
        sections, stages = state.segment.sections, state.stages
        name = _core.device_name(as_name(device, "device"))
        most = None if memory is None else as_index(memory, "memory", 1, 2**63 - 1)
        if name == "cpu" and most is not None:
            raise ArgumentError(f"memory is {memory}, and device is 'cpu'; leave it out: rows stay in place")
        target = TableState(state.description, sections, name)
        table = Table(target, stages.model_path)
        target.searcher(most)
        return table

    def save(self, path: str | Path) -> None:
        """Writes the table to a file, in one step: a crash or a full disk leaves the old file.

        A symbolic link is followed; the new file has the mode of the old one. Raises OSError, also for a folder, a pipe
        or a device.
        """
        sections = self._state.segment.sections
        for name in sections:
            sections.verified(name)
        write_table(Path(path), self._state.description, sections)

    @overload
    def search(
        self, queries: Queries, k: int | None = None, *, threshold: None = None, **options: Unpack[SearchOptions]
    ) -> Hits: ...
    @overload
    def search(self, queries: Queries, k: int, *, threshold: float, **options: Unpack[SearchOptions]) -> Hits: ...
    @overload
    def search(
        self, queries: Queries, k: None = None, *, threshold: float, **options: Unpack[SearchOptions]
    ) -> RangeHits: ...
    def search(
        self,
        queries: Queries,
        k: int | None = None,
        *,
        threshold: float | None = None,
        fine: ArrayInput | None = None,
        dim: int | None = None,
        oversample: int | Sequence[int] | None = None,
        confidence: float | None = None,
        query: str | None = None,
        filter: Filter | None = None,
        threads: int | None = None,
        encoder: SupportsEncode | None = None,
    ) -> Hits | RangeHits:
        """Finds the k best rows for each query, or all rows that reach a threshold.

        queries: (queries, dim) floats, or (dim,) for a single query; a declared prefix may replace `dim`. With stages,
            vectors of `input_dim` columns, as the model returns them. With `encoder`, a string or a list of strings,
            encoded with the model's "query" prompt if it has one.
        k: at least 1; the result has min(k, rows) columns. By default 10, or with a threshold all rows that reach it.
        threshold: only rows with this score or a better one: a larger score, or for "hamming" a smaller distance; for
            "l2" minus the squared distance. Without k the last tier scores every row that the filter allows, so that no
            coarser tier can miss one, and `oversample` and `confidence` have no meaning. With k the search is the same
            as without a threshold, and places below it have id -1.
        fine: for a table that was built with fine=, the queries of its second vectors, a row for each query.
        dim: scan only the first `dim` dimensions, at that share of the cost; by default all dimensions of the query.
            Rescoring always uses all of them.
        oversample: each tier hands `oversample * k` rows on to the next: a number for all tiers, or a number for each
            tier but the last. By default 4, and at least 200 rows; with `confidence` 32.
        confidence: rescore only until this share of the k best candidates is expected to be found: 0.5 to below 1, for
            instance 0.99. `oversample` remains the upper limit. The first such search learns the forecast from rows of
            the table that serve as queries; for queries unlike the rows it may be too optimistic.
        query: how the first tier is scanned, for codecs that have the choice. "codes": with the query's codes: bits of
            a binary table, by Hamming distance (its default), or planes of planes<b>. "float": with the float query,
            by its inner product with the decoded rows, bits as 1 and -1 (for a cosine, divided by the square root of
            the dimension). Then only the rows lose precision (an asymmetric distance: Gordo, Perronnin, Gong, Lazebnik
            2014), so recall is better at the same bytes, and a scan of bits is slower. Scores of a binary table
            without rescoring are then float32, larger is better, and `hits.metric` is "cosine" or "ip". Planes by codes
            without rescoring score by the inner product of the planes, and `hits.metric` is "ip".
        filter: the rows to consider. For all queries: a boolean mask (rows,), or ids (n,) that the table holds. For
            each query: a mask (queries, rows), or a list with an array of ids for each query. Or `Bits`, a packed mask.
            Integers are ids: a mask of 0 and 1 needs .astype(bool), and repeated ids that can be a mask (only 0 and 1,
            or as many as rows) are refused. Blocks of 64 rows without a row to consider are not read.
        threads: the largest number of threads, by default all that the process may use.

        Queries may be arrays on the table's device, of any library with DLPack or the CUDA array interface; the hits
        are then `DeviceArray`s. The queries, a small part of a search's work, are first copied to main memory, where
        they are checked, mapped and brought into the layout of each tier.

        Returns `Hits`, or `RangeHits` with a threshold and no k; their `stats` have the work of each tier. Raises
        `ArgumentError` for queries of a wrong shape or with NaN or infinite values, for a filter of a wrong shape,
        with ids that the table does not hold, or that can be a mask, and for an encoder other than the encoder that
        made the table; `TableFileError` if the file proves damaged.
        """
        queries_on_device = on_device(queries) or on_device(fine)
        if queries_on_device:
            queries, fine = queries_from(self.device, queries, fine)
        state = self._state
        description, layout = state.description, state.description.layout
        vectors = query_vectors(queries, encoder, description)
        vectors = state.stages.queries(vectors, threads)
        above = threshold is not None and k is None
        if above and not (oversample is None and confidence is None):
            raise ArgumentError(
                "threshold= was given without k, and oversample= or confidence=; leave them out, or give k"
            )
        plan = search_plan(
            layout,
            vectors.shape[1],
            k=10 if k is None else k,
            dim=dim,
            oversample=oversample,
            confidence=confidence,
            query=query,
            threads=threads,
        )
        rescoring = rescoring_queries(layout, fine, vectors)
        metric = layout.metric_of(plan.float_query)
        least = None if threshold is None else least_score(threshold, metric)
        segment = state.segment  # before the search: another thread may close the table in the middle of it
        compiled = None if filter is None else compiled_filter(filter, segment.ids, segment.rows, len(vectors))
        look_up = None if segment.texts is None else segment.texts.look_up
        if above and least is not None:
            offsets, scores, ids, stats = state.searcher().above(vectors, rescoring, plan, least, compiled)
            if metric == "cosine":
                clamp_cosines(scores)
            return RangeHits(offsets, ids, scores, metric, stats, look_up)
        scores, ids, stats = state.searcher().search(vectors, rescoring, plan, compiled)
        if least is not None:
            drop_below(least, scores, ids)
        if metric == "cosine":
            clamp_cosines(scores)
        if queries_on_device:
            scores, ids = moved((scores, ids), self.device)
        return Hits(scores, ids, metric, stats, look_up)

    def vectors(self, ids: ArrayInput | None = None, *, tier: int = -1) -> Floats:
        """Decoded rows: (rows, dim) float32, for a cosine of about length 1.

        ids: (rows,) ids that the table holds; by default all rows, in their order. tier: 0 is the scanned tier, -1 the
            finest. Raises `ArgumentError` for unknown ids and tiers.
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
            if len(wanted) == segment.rows > 2 and np.isin(wanted, (0, 1)).all():
                raise ArgumentError(
                    "ids holds only 0 and 1, an item for each row of the table, as a mask does; for a mask give "
                    "table.ids[mask.astype(bool)]"
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
        """The device that searches run on: "cpu", or "cuda:0" for instance."""
        return self._state.device

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self._state.description.rows

    @property
    def dim(self) -> int:
        """The number of dimensions of a row, after the stages."""
        return self._state.description.layout.dim

    @property
    def input_dim(self) -> int:
        """The number of dimensions of a query, before the stages; `dim` without stages."""
        return self._state.description.input_dim

    @property
    def stages(self) -> Stages:
        """The stages that queries pass before the codecs. Rows passed all of them but those of `map_queries`."""
        return self._state.stages.ready()

    @property
    def dims(self) -> tuple[int, ...]:
        """The declared dimensions, rising; the last is `dim`."""
        return self._state.description.layout.dims

    @property
    def fine_dim(self) -> int | None:
        """The number of dimensions of the second vectors; None for a table that was built without fine=."""
        return self._state.description.layout.fine_dim

    @property
    def codec(self) -> str:
        """The codec of the scanned tier."""
        return self.codecs[0]

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of all tiers, from the scanned tier to the finest."""
        return self._state.description.layout.names

    @property
    def rescore(self) -> str | None:
        """The codec of the first tier that rescores; None without rescoring."""
        return self.codecs[1] if len(self.codecs) > 1 else None

    @property
    def metric(self) -> str:
        """The metric of scores: "cosine", "ip", "l2", or "hamming" for a binary table without rescoring."""
        return self._state.description.layout.score_metric

    @property
    def build_metric(self) -> str:
        """The metric given to `build`: "cosine", "ip" or "l2", also where scores are Hamming distances."""
        return self._state.description.layout.metric

    @property
    def encoder(self) -> dict[str, Any] | None:
        """The fingerprint of the encoder that made the rows; None if `build` got no encoder."""
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
        """Bytes of codes and factors per row, over all tiers; without parameters of codecs, and without padding."""
        return self._state.bytes_per_row

    @property
    def codebook_bytes(self) -> int:
        """Bytes of the parameters of codecs and stages, for any number of rows: centroids, levels, means, rotations."""
        return self._state.segment.learned_bytes

    def info(self) -> dict[str, Any]:
        """A summary of the table as plain values: rows, dims, codecs, bytes of each section, encoder, device.

        "placed" has the placement of each tier: "cpu", a device, or "cpu to cuda:0" for a streamed tier, and its bytes
        of device memory.
        """
        return self._state.info()

    def close(self) -> None:
        """Closes the table. Its file or memory is released once no array and no hit from it is in use."""
        self._state.close()

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.rows

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Table cannot be copied or pickled; save it, and open the file")

    def __repr__(self) -> str:
        codec = repr(self.codecs[0] if len(self.codecs) == 1 else self.codecs)
        where = "" if self.device == "cpu" else f", device={self.device!r}"
        return f"Table(rows={self.rows}, dim={self.dim}, codec={codec}, metric={self.metric!r}{where})"
