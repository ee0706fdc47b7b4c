"""The pipeline of a model: the steps that its files list after the transformer, less those that its engine runs."""

from __future__ import annotations

from collections.abc import Sequence

from nestvec.encoder.engine import Engine
from nestvec.errors import ArgumentError, ModelError
from nestvec.model.directory import ModelDir
from nestvec.pipeline.steps import Normalize, Pipeline, Pooling


def fit_pipeline(source: ModelDir, engine: Engine, pooling: str | Sequence[str] | None) -> Pipeline:
    """Returns the steps after the engine. The vectors of an engine that `pools` count as texts of a single token.

    pooling: for hidden states without a modules.json. Raises `ArgumentError` if it is unknown or not needed, and
    `ModelError` if it is missing, and for modules that do not fit each other or the engine's output.
    """
    if pooling is not None and (source.modules is not None or engine.pools):
        reason = "the ONNX file pools by itself" if source.modules is None else "modules.json names the pooling"
        raise ArgumentError(f"pooling is {pooling!r}, but {reason}; leave it out")
    dim = engine.dim
    if source.modules is None:
        if engine.pools:
            return Pipeline([Pooling(("cls",))], dim)
        if pooling is None:
            raise ModelError(
                f"{engine.path} gives a hidden state for each token, and no modules.json names their pooling; give "
                "pooling='mean', 'cls' or another mode of nestvec.Pooling: the mode that the model was trained with"
            )
        return Pipeline([Pooling((pooling,) if isinstance(pooling, str) else tuple(pooling))], dim)
    _, steps, hidden_dim = source.modules
    try:
        pipeline = Pipeline(steps, hidden_dim)
    except ArgumentError as error:
        raise ModelError(f"the modules after {engine.path} do not fit together: {error}") from error
    expected = pipeline.dim if engine.pools else hidden_dim
    if dim != expected:
        raise ModelError(f"{engine.path} gives {dim} dimensions, and modules.json expects {expected}; export it again")
    if not engine.pools:
        return pipeline
    if any(isinstance(step, Pooling) and not step.include_prompt for step in steps):
        raise ModelError(
            f"{engine.path} pools by itself, prompts included, but the model's Pooling module excludes prompts; "
            "export it with last_hidden_state"
        )
    # Normalize changes nothing in normalized vectors, but makes the pipeline normalize again after a truncation.
    return Pipeline([Pooling(("cls",)), *(step for step in steps[-1:] if isinstance(step, Normalize))], dim)
