"""The exceptions that nestvec raises. All derive from `NestvecError`, and each from the builtin it refines."""

from __future__ import annotations


class NestvecError(Exception):
    """The base of every exception that nestvec raises on purpose."""


class ArgumentError(NestvecError, ValueError):
    """A value from the caller that cannot be used: shape, dtype, order, NaN, range, or an unknown name."""


class TableFileError(NestvecError, ValueError):
    """A table file that is truncated, damaged, of another kind, or of a version this nestvec cannot read."""


class ModelError(NestvecError, ValueError):
    """A model directory or ONNX file that cannot be run faithfully."""


class DeviceError(NestvecError, RuntimeError):
    """An instruction-set tier, backend, device or execution provider that cannot be used here."""


class MissingDependencyError(NestvecError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""
