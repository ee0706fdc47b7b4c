"""Stand-ins for arrays of other libraries: DLPack capsules and CUDA array interfaces over any memory."""

from __future__ import annotations

import ctypes
from typing import Any

from nestvec.base.device_array import DeviceArray

_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

CODES = {"float32": (2, 32), "float16": (2, 16), "bfloat16": (4, 16), "int64": (0, 64), "uint8": (1, 8), "int8": (0, 8)}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class DLPackArray:
    """An array over the memory of a `DeviceArray`, with DLPack only; `fields` overrides fields of its tensor.

    released: the number of deleter calls. streams: the streams that consumers passed.
    """

    def __init__(self, memory: DeviceArray, dtype: str | None = None, **fields: Any) -> None:
        self.memory = memory
        code, bits = CODES[dtype or memory.type_name]
        self.fields: dict[str, Any] = {
            "data": memory.compiled.pointer,
            "device": (2, memory.compiled.device_number),
            "items": (code, bits, 1),
            "shape": memory.shape,
            "strides": None,
            "byte_offset": 0,
            "version": (1, 0),
            **fields,
        }
        self.released = 0
        self.streams: list[object] = []
        self._alive: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.fields["device"]  # type: ignore[no-any-return]

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None) -> Any:
        self.streams.append(stream)
        fields, tensor = self.fields, _Tensor()
        tensor.data, (tensor.device_type, tensor.device_id) = fields["data"], fields["device"]
        tensor.code, tensor.bits, tensor.lanes = fields["items"]
        tensor.ndim, tensor.byte_offset = len(fields["shape"]), fields["byte_offset"]
        shape = (ctypes.c_int64 * len(fields["shape"]))(*fields["shape"])
        tensor.shape = shape
        if fields["strides"] is not None:
            tensor.strides = (ctypes.c_int64 * len(fields["strides"]))(*fields["strides"])

        def release(_: object) -> None:
            self.released += 1

        deleter = _DELETER(release)
        address = ctypes.cast(deleter, ctypes.c_void_p)
        if max_version is None:
            managed: Any = _Managed(tensor, None, address)
            name = b"dltensor"
        else:
            managed = _ManagedVersioned(*fields["version"], None, address, 0, tensor)
            name = b"dltensor_versioned"
        self._alive.append((shape, deleter, managed))
        return _api.PyCapsule_New(ctypes.addressof(managed), name, None)


class OldDLPackArray(DLPackArray):
    """A producer older than version 1 of DLPack: its `__dlpack__` has no max_version."""

    def __dlpack__(self, *, stream: int | None = None) -> Any:  # type: ignore[override]
        return super().__dlpack__(stream=stream)


class InterfaceArray:
    """An array over the memory of a `DeviceArray`, with the CUDA array interface only."""

    def __init__(self, memory: DeviceArray, **fields: Any) -> None:
        self.memory = memory
        self.__cuda_array_interface__ = {**memory.__cuda_array_interface__, **fields}
