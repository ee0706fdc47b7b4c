"""Stages that vectors go through before any codec: fitted once, stored in the table, applied to queries by itself.

    table = nv.Table.build(x, codec="int8", stages=[nv.stages.Center(), nv.stages.PCA(128)])

A stage is described by a small object, `PCA(128)`, whose `fit(sample)` returns a `Stage`: what was learned, with
`transform(x)`. Neighbours that are one matrix product together become one (`Stages`).
"""

from __future__ import annotations

from nestvec.stages.chain import Fittable, Stages
from nestvec.stages.fits import (
    PCA,
    Center,
    Clip,
    LinearMap,
    RandomRotation,
    Relative,
    RemoveDirections,
    ZeroOutliers,
)
from nestvec.stages.kinds import Stage
from nestvec.stages.onnx import OnnxStage

__all__ = [
    "PCA",
    "Center",
    "Clip",
    "Fittable",
    "LinearMap",
    "OnnxStage",
    "RandomRotation",
    "Relative",
    "RemoveDirections",
    "Stage",
    "Stages",
    "ZeroOutliers",
]
