"""The families of codecs. Names, help, tune's candidates, plots and tests are made from `FAMILIES`.

A fit imports its module when it runs, because the command line's help imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from nestvec.codecs.codec import Codec, Family, Mark, Offer

if TYPE_CHECKING:
    from nestvec import _core
    from nestvec.base.types import Floats
    from nestvec.codecs.basis import Basis

# Turns of tune's candidates: cheap and informative codecs first, codecs that take minutes to train last.
_FIRST, _SOON, _THEN, _RESCORED, _TRAINED = range(5)

# Any two colours have a distance of 25 or more (CIE76), also as seen with protanopia, deuteranopia and tritanopia
# (Machado et al. 2009), and each has a contrast of 3.2 on its ground. All shapes look about equally large.
_FLOAT = Mark("float", "float32, float16, bfloat16", ("#3c3c3c", "#d5d5d5"), corners=24)
_INT = Mark("int", "int8, int4", ("#006bd6", "#19d7ff"), corners=4, turned=0.5, size=1.2)
_BINARY = Mark("binary", "binary", ("#e16e08", "#d58034"), corners=3, turned=0.5, size=1.3)
_PQ = Mark("pq", "pq", ("#a95e90", "#c67bb3"), corners=5, turned=0.5, size=1.1)
_OPQ = Mark("opq", "opq", ("#54007f", "#746bde"), corners=6, size=1.1)
_RABITQ = Mark("rabitq", "rabitq", ("#00a46c", "#1a996f"), corners=4, size=1.25)
_PLANES = Mark("planes", "planes", ("#6c3c00", "#e8d33f"), corners=3, size=1.3)


def _always(*offers: Offer) -> Callable[[int, float | None], Iterable[Offer]]:
    return lambda dim, max_bytes: offers


def _sizes(dim: int, max_bytes: float | None) -> tuple[list[int], int]:
    """Numbers of sub-quantizers to try, and a small number for tables that are rescored."""
    sizes = sorted({max(1, dim // divisor) for divisor in (16, 8, 4, 2)})
    small = sizes[len(sizes) // 3]
    if max_bytes is not None and 1 <= max_bytes <= dim // 2:
        sizes.append(int(max_bytes))
    return sizes, small


def _pq_offers(dim: int, max_bytes: float | None) -> Iterator[Offer]:
    sizes, small = _sizes(dim, max_bytes)
    yield from ((_TRAINED, f"pq{size}x8") for size in sizes)
    yield from ((_TRAINED, f"pq{2 * size}x4") for size in sizes if 2 * size <= dim)  # the same bytes
    yield _TRAINED, f"pq{small}x8+int8"
    yield _TRAINED, f"pq{min(dim, 2 * small)}x4+int8"


def _opq_offers(dim: int, max_bytes: float | None) -> Iterator[Offer]:
    sizes, small = _sizes(dim, max_bytes)
    yield from ((_TRAINED, f"opq{size}x8") for size in sizes)
    if 2 * small < dim:  # the slowest fits: a single codec of 4 bits is enough
        yield _TRAINED, f"opq{2 * small}x4"
    yield _TRAINED, f"opq{small}x8+int8"
    yield _TRAINED, f"binary+opq{max(1, dim // 4)}x8"


def _fit_int4(codec: Codec, sample: Floats, seed: int, centred: bool) -> tuple[_core.Codebook, Basis | None]:
    from nestvec.codecs.grid import fit_int4

    return fit_int4(codec, sample, centred)


def _fit_pq(codec: Codec, sample: Floats, seed: int, centred: bool) -> tuple[_core.Codebook, Basis]:
    from nestvec.codecs.pq import fit_pq

    return fit_pq(codec, sample, seed)


def _fit_rabitq(codec: Codec, sample: Floats, seed: int, centred: bool) -> tuple[_core.Codebook | None, Basis]:
    from nestvec.codecs.grid import fit_rabitq

    return fit_rabitq(codec, sample, seed)


def _fit_planes(codec: Codec, sample: Floats, seed: int, centred: bool) -> tuple[_core.Codebook, Basis]:
    from nestvec.codecs.grid import fit_planes

    return fit_planes(codec, sample, seed)


FAMILIES = (
    Family(
        name="float",
        pattern="float32|float16|bfloat16",
        names=("float32", "float16", "bfloat16"),
        examples=("float32", "bfloat16", "float16"),
        codes="floats, rounded to nearest even",
        learns="nothing",
        scanned_with="the float query",
        source="",
        encoding=lambda match: match[0],
        mark=_FLOAT,
        offers=_always((_FIRST, "float32"), (_THEN, "bfloat16"), (_THEN, "float16")),
    ),
    Family(
        name="int8",
        pattern="int8",
        names=("int8",),
        examples=("int8",),
        codes="8 bits a dimension, symmetric, one scale a row",
        learns="nothing",
        scanned_with="the query in int8",
        source="",
        encoding=lambda match: "int8",
        mark=_INT,
        offers=_always((_FIRST, "int8")),
        cut=True,
    ),
    Family(
        name="int4",
        pattern="int(?P<bits>4)",
        names=("int4",),
        examples=("int4",),
        codes="one of 16 levels a dimension, one scale a row",
        learns="mean and levels",
        scanned_with="the query in int8",
        source="Lloyd; Max 1960",
        encoding=lambda match: "int4",
        mark=_INT,
        offers=_always((_SOON, "int4")),
        scaled=True,
        fit=_fit_int4,
        cut=True,
    ),
    Family(
        name="binary",
        pattern="binary",
        names=("binary",),
        examples=("binary",),
        codes="the sign of each dimension",
        learns="nothing",
        scanned_with='the query\'s bits, or with `query="float"` the float query',
        source="Gordo, Perronnin, Gong, Lazebnik 2014",
        encoding=lambda match: "binary",
        mark=_BINARY,
        offers=_always(
            (_FIRST, "binary"),
            (_FIRST, "binary+int8"),
            (_RESCORED, "binary+int4"),
            (_RESCORED, "binary+int8+float32"),
        ),
        queries=("codes", "float"),
        cut=True,
    ),
    Family(
        name="pq",
        pattern="pq(?P<m>[1-9][0-9]{0,4})x(?P<bits>[48])",
        names=("pq<m>x8", "pq<m>x4"),
        examples=("pq96x8", "pq48x8", "pq96x4"),
        codes="a product quantizer, m codes of 8 or 4 bits",
        learns="mean, and m times 256 or 16 centroids by k-means++ and Lloyd",
        scanned_with="look-up tables",
        source="Jégou, Douze, Schmid 2011",
        encoding=lambda match: f"pq{match['bits']}",
        mark=_PQ,
        offers=_pq_offers,
        fit=_fit_pq,
        fit_seconds=lambda codec: 1.5 if codec.bits == 8 else 0.3,
    ),
    Family(
        name="opq",
        pattern="opq(?P<m>[1-9][0-9]{0,4})x(?P<bits>[48])",
        names=("opq<m>x8", "opq<m>x4"),
        examples=("opq160x8", "opq96x8", "opq48x8", "opq96x4"),
        codes="a product quantizer after a learned rotation",
        learns="mean; rotation and centroids, by turns",
        scanned_with="look-up tables",
        source="Ge, He, Ke, Sun 2014",
        encoding=lambda match: f"pq{match['bits']}",
        mark=_OPQ,
        offers=_opq_offers,
        rotates=True,
        fit=_fit_pq,
        fit_seconds=lambda codec: 5.0 if codec.bits == 8 else 3.0,
    ),
    Family(
        name="rabitq",
        pattern="rabitq(?P<bits>[2-8]?)",
        names=("rabitq", "rabitq2 to rabitq8"),
        examples=("rabitq8", "rabitq4", "rabitq3", "rabitq2", "rabitq"),
        codes="1 to 8 bits a dimension after a rotation, one factor a row",
        learns="mean and rotation",
        scanned_with="look-up tables; 4 and 8 bits: the query in int8",
        source="Gao, Long 2024; Gao et al. 2025; rotation: Gong, Lazebnik 2011",
        # int8 has recall like that of 8 planes, and the fastest kernel
        encoding=lambda match: {"4": "int4", "8": "int8"}.get(match["bits"], "planes"),
        mark=_RABITQ,
        offers=_always(
            (_SOON, "rabitq"),
            (_SOON, "rabitq4"),
            (_THEN, "rabitq2"),
            (_THEN, "rabitq3"),
            (_THEN, "rabitq8"),
            (_RESCORED, "rabitq+int8"),
            (_RESCORED, "rabitq+int4"),
        ),
        rotates=True,
        scaled=True,
        fit=_fit_rabitq,
        fit_seconds=lambda codec: 0.3,
    ),
    Family(
        name="planes",
        pattern="planes(?P<bits>[1-8])",
        names=("planes1 to planes8",),
        examples=("planes4", "planes3", "planes2"),
        codes="1 to 8 bit planes a dimension, each the sign of the residual of the planes before it",
        learns="mean, rotation, plane weights",
        scanned_with='look-up tables, or with `query="codes"` the query\'s planes',
        source="Gan et al. 2023",
        encoding=lambda match: "int4" if match["bits"] == "4" else "planes",
        mark=_PLANES,
        offers=_always((_THEN, "planes2"), (_THEN, "planes3"), (_THEN, "planes4")),
        rotates=True,
        queries=("float", "codes"),
        fit=_fit_planes,
        fit_seconds=lambda codec: 0.3,
    ),
)
