"""Stages: maps of vectors before the codec. A table fits them once, stores them, and applies them to queries.

    table = nv.Table.build(x, codec="int8", stages=[nv.stages.Center(), nv.stages.PCA(128)])

`PCA(128)` is a recipe: its `fit(sample)` returns a fitted `Stage` with `transform(x)`. `Stages` chains fitted stages
and fuses neighbours into one matrix product where it can.
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
