"""Golden tables: their contents, and the program that writes the files in golden/.

    python tests/format/golden.py            # writes those that are missing
    python tests/format/golden.py int8_ip    # only this table

A file is never written again: all later versions of nestvec read the files of a version. A golden is two files:
<name>.safetensors, the table, and <name>.json, its description and the results of searches, floats as hexadecimal text.
tests/python/table/formats/test_golden.py reads both, and builds each table again.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zlib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

import nestvec as nv
import nestvec.table.table
from nestvec.stages import PCA, Center, Clip, LinearMap, OnnxStage, RandomRotation, Relative, RemoveDirections

FOLDER = Path(__file__).parent / "golden"
ADAPTER = FOLDER / "adapter.onnx"  # max(x @ w, 0), w (20, 6) of -1, 0 and 1: exact in any order of additions
K = 5
Floats = npt.NDArray[Any]


def numbers(name: str, rows: int, dim: int) -> Floats:
    """(rows, dim) float32, bell-shaped, of standard deviation 1.1: multiples of 1/128, the same for ever.

    Splitmix64 of a counter; the four bytes of the upper half are added up.
    """
    at = np.arange(rows * dim, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 24)
    mixed = at * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    sums = (mixed >> np.uint64(32)).view(np.uint8).reshape(-1, 8)[:, :4].astype(np.int64).sum(axis=1)
    return ((sums - 510) / 128).astype(np.float32).reshape(rows, dim)


def vectors(name: str, rows: int, dim: int) -> Floats:
    """Rows in seven groups, the first dimensions wider; among them zeros, a long row, and two equal rows."""
    x = numbers(f"{name} centers", 7, dim)[np.arange(rows) % 7] + numbers(name, rows, dim)
    x *= np.array([4, 2, 1, 1], np.float32)[np.arange(dim) * 4 // dim]
    if rows > 11:
        x[5], x[9] = 0, x[3]
        x[11] *= 16
    return x


def queries_of(name: str, dim: int, x: Floats) -> Floats:
    """Two queries near rows, a query equal to a repeated row, and zeros."""
    q = vectors(f"{name} queries", 4, dim)
    if len(x) > 3 and x.shape[1] == dim:
        q[1] = x[len(x) - 1] + q[1] / 8
        q[2] = x[3]
    q[3] = 0
    return q if dim < 1000 else q[:2]


@dataclass(frozen=True)
class Golden:
    """One table.

    codec, stages, options: as `Table.build` takes them; the path of a model stands for an OnnxStage. searches: the
    options of each. fine: the dimension of the second vectors. mapped: the dimension of another model, whose queries
    two stages map. made: whether a build still writes it; else it is from before these codecs were centred.
    """

    codec: str | tuple[str, ...]
    rows: int
    dim: int
    metric: str = "cosine"
    searches: tuple[dict[str, Any], ...] = ({},)
    ids: bool = False
    texts: bool = False
    encoder: bool = False
    stages: tuple[Any, ...] = ()
    fine: int = 0
    mapped: int = 0
    made: bool = True
    options: dict[str, Any] = field(default_factory=dict)


def _goldens() -> dict[str, Golden]:
    prefix, codes, floats = {"dim": 8}, {"query": "codes"}, {"query": "float"}
    goldens = {}
    for codec in ("float32", "float16", "bfloat16", "int8", "int4"):
        rows = 300 if codec == "int4" else 70  # learned levels want 4,096 values
        goldens[codec] = Golden(codec, rows, 21, searches=({}, prefix), options={"dims": (8,)})
        goldens[f"{codec}_ip"] = Golden(codec, rows, 21, "ip", ({}, prefix), made=codec != "int4")
    goldens["int8_l2"] = Golden("int8", 70, 21, "l2", ({}, prefix), options={"dims": (8,)})
    goldens["squares_l2"] = Golden(("rabitq3", "int4", "bfloat16"), 130, 20, "l2", ids=True, made=False)
    goldens["binary"] = Golden("binary", 70, 70, searches=({}, prefix, floats), options={"dims": (8,)})
    goldens["binary_ip"] = Golden("binary", 70, 70, "ip", ({}, prefix, floats))
    for family, metric in product(("pq", "opq"), ("cosine", "ip", "l2")):
        dims = (7,) if (family, metric) == ("pq", "ip") else ()
        searches = ({}, *({"dim": dim} for dim in dims))
        for codec, rows, dim in ((f"{family}4x8", 300, 14), (f"{family}9x4", 130, 20)):
            cut = searches if dim == 14 else ({},)
            options = {"dims": dims} if dim == 14 else {}
            goldens[f"{codec}_{metric}"] = Golden(codec, rows, dim, metric, cut, options=options, made=False)
    for codec in ("rabitq", "rabitq2", "rabitq3", "rabitq4", "rabitq8"):
        goldens[codec] = Golden(codec, 130, 66 if codec == "rabitq" else 20, made=codec == "rabitq8")
    goldens["rabitq3_ip"] = Golden("rabitq3", 130, 20, "ip")
    goldens["rabitq_hadamard"] = Golden("rabitq", 64, 1030, made=False)
    for codec in ("planes1", "planes2", "planes4", "planes8"):
        goldens[codec] = Golden(codec, 130, 66 if codec == "planes2" else 20, searches=(codes, floats))
    goldens["planes2_ip"] = Golden("planes2", 130, 20, "ip", searches=(codes, floats))
    named = {"ids": True, "texts": True, "encoder": True}
    goldens["cascade"] = Golden(
        ("binary", "int8", "float32"),
        70,
        20,
        searches=({}, prefix, {"oversample": [3, 2]}, {"confidence": 0.9}),
        options={"dims": (8,)},
        **named,
    )
    goldens["cascade_of_eight"] = Golden(
        ("binary", "planes2", "rabitq3", "int4", "rabitq8", "int8", "bfloat16", "float16"),
        130,
        20,
        searches=({}, {"oversample": [7, 6, 5, 4, 3, 2, 1]}),
        made=False,
    )
    goldens["cascade_l2"] = Golden(("pq5x4", "pq9x4", "int8", "float32"), 130, 20, "l2", ids=True, made=False)
    goldens["cascade_ip"] = Golden(("opq9x4", "opq4x8", "planes4", "float16"), 300, 12, "ip", texts=True, made=False)
    for codec, metric in (
        *product(("pq9x4", "opq4x8", "int4"), ("cosine", "l2")),
        *product(("rabitq", "rabitq2", "rabitq4"), ("cosine",)),
        ("opq9x4", "ip"),
    ):
        goldens[f"centred_{codec}_{metric}"] = Golden(codec, 300 if "x8" in codec else 130, 20, metric)
    goldens["centred_pq4x8_ip"] = Golden("pq4x8", 300, 14, "ip", ({}, {"dim": 7}), options={"dims": (7,)})
    goldens["centred_int4_ip"] = Golden("int4", 300, 21, "ip", ({}, prefix))
    goldens["centred_rabitq_hadamard"] = Golden("rabitq", 64, 1030)
    tiers = ("pq9x4", "opq9x4", "rabitq3", "int4", "float16")
    goldens["centred_cascade"] = Golden(tiers, 130, 20, ids=True)
    goldens["centred_cascade_l2"] = Golden(tiers, 130, 20, "l2", ({}, {"oversample": [4, 3, 2, 1]}))
    goldens["fine"] = Golden(("binary", "int8", "float32"), 70, 20, fine=12, ids=True)
    goldens["fine_ip"] = Golden(("int8", "float16"), 70, 20, "ip", ({}, prefix), fine=33, options={"dims": (8,)})
    goldens["empty"] = Golden("float32", 0, 5, texts=True, ids=True)
    for name, codec, stages in (
        ("affine", "int8", (PCA(8),)),
        ("scale", ("binary", "float32"), (Center(),)),
        ("rotation", "int8", (RandomRotation(3),)),
        ("clip", "float32", (Clip(0.9),)),
        ("relative", "bfloat16", (Relative(vectors("anchors", 6, 20)),)),
        ("onnx", "float32", (ADAPTER,)),
        ("chain", "binary", (RemoveDirections(count=2), Clip(0.95), PCA(12, whiten=True), RandomRotation())),
    ):
        goldens[f"stage_{name}"] = Golden(codec, 70, 20, stages=stages)
    goldens["query_stages"] = Golden("int8", 70, 20, stages=(Center(), PCA(8)), mapped=15, encoder=True)
    return goldens


GOLDENS = _goldens()


class Data:
    """The rows and the queries of a golden."""

    def __init__(self, name: str) -> None:
        golden = GOLDENS[name]
        self.x = vectors(name, golden.rows, golden.dim)
        self.fine = vectors(f"{name} fine", golden.rows, golden.fine) if golden.fine else None
        self.other = vectors(f"{name} other", golden.rows, golden.mapped) if golden.mapped else None
        self.queries = queries_of(name, golden.mapped or golden.dim, self.x if self.other is None else self.other)
        self.fine_queries = None if self.fine is None else queries_of(f"{name} fine", golden.fine, self.fine)
        self.ids = [(37 * row) % 1009 + 10**12 * (row % 3) for row in range(golden.rows)]
        self.texts = ["", *(f"row {row}: " + "née ☃"[: row % 6] for row in range(1, golden.rows))][: golden.rows]


def encoder_of(name: str) -> Any:
    """Stands for an encoder: its fingerprint has the keys of a real one."""
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    steps = [{"step": "pooling", "modes": ["mean"]}, {"step": "normalize"}]
    fingerprint = {"onnx_sha256": sha256, "tokenizer_sha256": sha256, "lower_case": True, "max_length": 256}
    fingerprint |= {"pipeline": steps, "dim": 20, "prompts": {"query": "query: "}, "default_prompt_name": None}
    return SimpleNamespace(fingerprint=fingerprint)


def build(name: str, stages: list[nv.stages.Stage] | None = None) -> nv.Table:
    """Builds a golden table. stages: fitted stages in place of the golden's, those of queries first."""
    golden, data = GOLDENS[name], Data(name)
    golden_stages = [OnnxStage(stage) if isinstance(stage, Path) else stage for stage in golden.stages]
    table = nv.Table.build(
        data.x,
        codec=golden.codec,
        fine=data.fine,
        stages=golden_stages if stages is None else stages[2 * bool(golden.mapped) :],
        ids=data.ids if golden.ids else None,
        texts=data.texts if golden.texts else None,
        metric=golden.metric,
        seed=11,
        encoder=encoder_of(name) if golden.encoder else None,
        **golden.options,
    )
    if data.other is None:
        return table
    if stages is None:
        stages = [Clip(0.9).fit(data.other), LinearMap.fit(data.other, data.x)]
    return table.map_queries(stages[1]).map_queries(stages[0], encoder=encoder_of(f"{name} other"))


def text(array: Floats) -> list[Any]:
    """Rows of numbers as JSON has them without a loss: integers, or floats as hexadecimal text."""
    if array.dtype.kind in "iu":
        return array.tolist()
    return [[re.sub(r"\.?0*p", "p", float(value).hex()) for value in row] for row in array]


def floats(rows: list[list[str]]) -> Floats:
    """The float32 that `text` wrote."""
    return np.array([[float.fromhex(value) for value in row] for row in rows], np.float32)


def info(table: nv.Table) -> dict[str, Any]:
    """`Table.info` without the table's placement."""
    return {key: value for key, value in table.info().items() if key not in ("device", "placed")}


def opened(name: str) -> nv.Table:
    """Opens a golden."""
    return nv.Table.open(FOLDER / f"{name}.safetensors", onnx=ADAPTER if name == "stage_onnx" else None)


def search(table: nv.Table, answers: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The hits of a search with these options for the queries of the answers."""
    fine = answers.get("fine")
    given = {"fine": None if fine is None else floats(fine), **options}
    if len(table.codecs) > 1 and "confidence" not in options:
        given.setdefault("oversample", 4)  # the default when the answers were recorded
    hits = table.search(floats(answers["queries"]), **given)
    found = {"options": options, "metric": hits.metric, "ids": hits.ids.tolist(), "scores": text(hits.scores)}
    return {**found, "texts": hits.texts} if table.has_texts else found


def decoded(table: nv.Table, tier: int, ids: list[int]) -> dict[str, Any]:
    """The decoded codes of rows."""
    return {"tier": tier, "ids": ids, "values": text(table.vectors(ids, tier=tier))}


def digests(table: nv.Table, answers: dict[str, Any]) -> dict[str, Any]:
    """Digests of the scores, texts and decoded codes of all rows, so that each of their bytes counts."""
    every = search(table, answers, {"k": max(1, table.rows)})
    codes = [table.vectors(tier=tier).astype("<f4") for tier in range(len(table.codecs))]
    return {
        "scores": _digest(json.dumps(every, sort_keys=True).encode()),
        "vectors": [_digest(values.tobytes()) for values in codes],
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def answers_of(name: str, table: nv.Table) -> dict[str, Any]:
    """The content of the golden's JSON file."""
    golden, data = GOLDENS[name], Data(name)
    answers: dict[str, Any] = {
        "info": info(table),
        "queries": text(data.queries),
    }
    if data.fine_queries is not None:
        answers["fine"] = text(data.fine_queries)
    ids = table.ids.tolist()
    searches = [{"k": K, **options} for options in golden.searches]
    if ids:
        searches.append({"k": K, "filter": [ids[row] for row in (63, 9, 3)]})
    answers["searches"] = [search(table, answers, options) for options in searches]
    rows = ids[3:6:2] if golden.dim < 1000 else ids[3:4]  # the second is zeros
    answers["vectors"] = [decoded(table, tier, rows) for tier in range(len(table.codecs))] if ids else []
    answers["digests"] = digests(table, answers)
    return answers


def write(name: str) -> None:
    """Writes both files. Raises FileExistsError if a file exists."""
    path = FOLDER / f"{name}.safetensors"
    if path.exists():
        raise FileExistsError(f"{path} exists; a golden file is never written again: give a new golden another name")
    build(name).save(path)
    nestvec.table.table.clamp_cosines = lambda scores: None  # the answers have the scores before they are clamped
    with opened(name) as table:
        answers = answers_of(name, table)
    lines = [f'"{key}": {_lines(value)}' for key, value in answers.items()]
    with path.with_suffix(".json").open("x") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def _lines(value: Any) -> str:
    """JSON with a line for each item of a list."""
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"


def write_adapter() -> None:
    """Writes the model of the OnnxStage."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.sign(numbers("adapter", 20, 6)) * (np.abs(numbers("adapter", 20, 6)) > 0.5)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Relu", ["product"], ["y"])],
        "adapter",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 6])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    ADAPTER.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    if not ADAPTER.exists():
        write_adapter()
    for golden in sys.argv[1:] or [name for name in GOLDENS if not (FOLDER / f"{name}.json").exists()]:
        write(golden)
        print(golden)
