"""The exceptions that nestvec raises. Each derives from `NestvecError` and from the builtin that it refines."""

from __future__ import annotations


class NestvecError(Exception):
    """The base of every exception that nestvec raises on purpose."""


class ArgumentError(NestvecError, ValueError):
    """A value from the caller that cannot be used: shape, dtype, order, NaN, range, or an unknown name."""


class TableFileError(NestvecError, ValueError):
    """A table file that is truncated, damaged, of another kind, or of a version this nestvec cannot read."""


class ModelError(NestvecError, ValueError):
    """A model directory or ONNX file that nestvec cannot run, or would run with other results than its authors do."""


class DeviceError(NestvecError, RuntimeError):
    """An ISA, backend, device or execution provider that this machine cannot use."""


class MissingDependencyError(NestvecError, ImportError):
    """An optional dependency that is not installed; the message names the extra that installs it."""
