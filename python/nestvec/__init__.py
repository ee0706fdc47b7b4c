"""One compiled engine from text to top-k: ONNX encoders, Matryoshka prefixes, compressed embedding tables.

    import nestvec as nv

    encoder = nv.Encoder("path/to/model")
    table = nv.Table.build(encoder.encode(texts), codec="binary", rescore="int8", texts=texts)
    hits = table.search("how do I parse a date", k=5, encoder=encoder)

Submodules are imported on first use: importing nestvec costs little more than importing numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nestvec import errors, evaluate, stages
    from nestvec._core import __version__, backends, capabilities
    from nestvec.base.device_array import DeviceArray
    from nestvec.codecs.fitted import Codes, FittedCodec, fit
    from nestvec.encoder.encoder import Encoder
    from nestvec.encoder.stats import EncodeStats
    from nestvec.export.export import export_onnx
    from nestvec.pipeline.rows import normalize, quantize, truncate
    from nestvec.pipeline.steps import Dense, LayerNorm, Normalize, Pipeline, Pooling, pool
    from nestvec.table.filters import Bits
    from nestvec.table.hits import Hits, RangeHits, TierStats
    from nestvec.table.table import Table
    from nestvec.table.topk import hamming_topk, inner_topk
    from nestvec.tuning.result import TuneResult
    from nestvec.tuning.run import tune

_HOME = {
    "errors": "nestvec.errors",
    "evaluate": "nestvec.evaluate",
    "stages": "nestvec.stages",
    "__version__": "nestvec._core",
    "backends": "nestvec._core",
    "capabilities": "nestvec._core",
    "Bits": "nestvec.table.filters",
    "Codes": "nestvec.codecs.fitted",
    "FittedCodec": "nestvec.codecs.fitted",
    "fit": "nestvec.codecs.fitted",
    "DeviceArray": "nestvec.base.device_array",
    "EncodeStats": "nestvec.encoder.stats",
    "Encoder": "nestvec.encoder.encoder",
    "export_onnx": "nestvec.export.export",
    "Dense": "nestvec.pipeline.steps",
    "LayerNorm": "nestvec.pipeline.steps",
    "Normalize": "nestvec.pipeline.steps",
    "Pipeline": "nestvec.pipeline.steps",
    "Pooling": "nestvec.pipeline.steps",
    "normalize": "nestvec.pipeline.rows",
    "pool": "nestvec.pipeline.steps",
    "quantize": "nestvec.pipeline.rows",
    "truncate": "nestvec.pipeline.rows",
    "Hits": "nestvec.table.hits",
    "RangeHits": "nestvec.table.hits",
    "TierStats": "nestvec.table.hits",
    "Table": "nestvec.table.table",
    "TuneResult": "nestvec.tuning.result",
    "hamming_topk": "nestvec.table.topk",
    "inner_topk": "nestvec.table.topk",
    "tune": "nestvec.tuning.run",
}

__all__ = [
    "Bits",
    "Codes",
    "Dense",
    "DeviceArray",
    "EncodeStats",
    "Encoder",
    "FittedCodec",
    "Hits",
    "LayerNorm",
    "Normalize",
    "Pipeline",
    "Pooling",
    "RangeHits",
    "Table",
    "TierStats",
    "TuneResult",
    "__version__",
    "backends",
    "capabilities",
    "errors",
    "evaluate",
    "export_onnx",
    "fit",
    "hamming_topk",
    "inner_topk",
    "normalize",
    "pool",
    "quantize",
    "stages",
    "truncate",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nestvec' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    value = module if name in ("errors", "evaluate", "stages") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
