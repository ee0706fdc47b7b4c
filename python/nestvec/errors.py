"""The exceptions that nestvec raises. Each derives from `NestvecError` and from the builtin that it refines."""

from __future__ import annotations


class NestvecError(Exception):
    """The base class of nestvec's exceptions."""


class ArgumentError(NestvecError, ValueError):
    """An argument that cannot be used: its shape, dtype, order, range or name is wrong, or it contains NaN."""


class TableFileError(NestvecError, ValueError):
    """A table file that is truncated, damaged, not a table file, or of a version that this nestvec cannot read."""


class ModelError(NestvecError, ValueError):
    """A model directory or ONNX file that nestvec cannot run, or whose vectors would differ from its authors'."""


class DeviceError(NestvecError, RuntimeError):
    """An ISA, backend, device or execution provider that this machine cannot use."""


class MissingDependencyError(NestvecError, ImportError):
    """An optional dependency that is not installed; the message names the extra that installs it."""
