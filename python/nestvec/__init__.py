"""One compiled engine from text to top-k: ONNX encoders, Matryoshka prefixes, compressed embedding tables.

    import nestvec as nv

    encoder = nv.Encoder("path/to/model")
    table = nv.Table.build(encoder.encode(texts), codec="binary", rescore="int8", texts=texts)
    hits = table.search("how do I parse a date", k=5, encoder=encoder)

Everything is imported on first use, so that importing nestvec costs little more than importing numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nestvec import errors, evaluate, stages
    from nestvec._core import __version__, backends, capabilities
    from nestvec.device_array import DeviceArray
    from nestvec.encoder import Encoder, EncodeStats
    from nestvec.export import export_onnx
    from nestvec.filters import Bits
    from nestvec.fitted import Codes, FittedCodec, fit
    from nestvec.pipeline import Dense, LayerNorm, Normalize, Pipeline, Pooling, pool
    from nestvec.row_steps import normalize, quantize, truncate
    from nestvec.search_result import Hits, TierStats
    from nestvec.table import Table
    from nestvec.topk import hamming_topk, inner_topk
    from nestvec.tune_result import TuneResult
    from nestvec.tune_run import tune

_HOME = {
    "errors": "nestvec.errors",
    "evaluate": "nestvec.evaluate",
    "stages": "nestvec.stages",
    "__version__": "nestvec._core",
    "backends": "nestvec._core",
    "capabilities": "nestvec._core",
    "Bits": "nestvec.filters",
    "Codes": "nestvec.fitted",
    "FittedCodec": "nestvec.fitted",
    "fit": "nestvec.fitted",
    "DeviceArray": "nestvec.device_array",
    "EncodeStats": "nestvec.encoder",
    "Encoder": "nestvec.encoder",
    "export_onnx": "nestvec.export",
    "Dense": "nestvec.pipeline",
    "LayerNorm": "nestvec.pipeline",
    "Normalize": "nestvec.pipeline",
    "Pipeline": "nestvec.pipeline",
    "Pooling": "nestvec.pipeline",
    "normalize": "nestvec.row_steps",
    "pool": "nestvec.pipeline",
    "quantize": "nestvec.row_steps",
    "truncate": "nestvec.row_steps",
    "Hits": "nestvec.search_result",
    "TierStats": "nestvec.search_result",
    "Table": "nestvec.table",
    "TuneResult": "nestvec.tune_result",
    "hamming_topk": "nestvec.topk",
    "inner_topk": "nestvec.topk",
    "tune": "nestvec.tune_run",
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
