"""Arrays in device memory: `DeviceArray`, and views of other libraries' arrays without a copy."""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array, check_shape
from nestvec.errors import ArgumentError

_CPU, _CUDA = 1, 2  # DLPack's device types
_FLOATS = ("float32", "float16", "bfloat16")

Shape: TypeAlias = tuple[int, ...]


class DeviceArray:
    """A C-contiguous array in device memory. nestvec returns one wherever its input was on a device.

    x: anything that `numpy.asarray` takes, which is copied to the device; or an array on the device, from any library
        with DLPack or the CUDA array interface, which is viewed without a copy and kept alive.
    device: "cuda", or "cuda:1" for a GPU by its number.

    Other libraries view it without a copy: `torch.from_dlpack(x)`, `cupy.from_dlpack(x)`. No stream has to wait for it:
    nestvec finishes all work on an array before it returns it. `x[first:last]`, `x[row]` and `x.reshape(...)` are
    views. numpy has no bfloat16: items of that type have the dtype uint16, the upper halves of float32.

    Raises `DeviceError` if the device cannot be used or is out of memory. Raises `ArgumentError` for an array on
    another device, with gaps, or with items other than integers, bool and floats of 16 to 64 bits.
    """

    __slots__ = ("compiled",)

    compiled: _core.DeviceArray

    def __init__(self, x: ArrayInput, device: str | None = None) -> None:
        if on_device(x):
            given = as_device_array(x, "x")
            if device is not None and _core.device_name(device) != given.device:
                raise ArgumentError(
                    f"x lies on {given.device}, but device is {device!r}; copy it from one to the other"
                )
            self.compiled = given.compiled
        else:
            array = np.asarray(as_array(x, "x"), order="C")
            self.compiled = _core.DeviceArray.from_numpy(array, "cuda" if device is None else device)

    @classmethod
    def of(cls, compiled: _core.DeviceArray) -> DeviceArray:
        """Wraps an array of the compiled code."""
        array = cls.__new__(cls)
        array.compiled = compiled
        return array

    @property
    def shape(self) -> Shape:
        """The size of each dimension."""
        return self.compiled.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of items."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the items; uint16 for bfloat16."""
        return np.dtype("uint16" if self.type_name == "bfloat16" else self.type_name)

    @property
    def type_name(self) -> str:
        """The name of the items' type, which may be "bfloat16"."""
        return self.compiled.dtype

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def device(self) -> str:
        """The device that holds it, such as "cuda:0"."""
        return self.compiled.device

    def numpy(self) -> npt.NDArray[Any]:
        """Copies it to main memory."""
        return self.compiled.numpy()

    def reshape(self, *shape: int | Shape) -> DeviceArray:
        """Views it in another shape; one extent may be -1. Raises `ArgumentError` if the number of items differs."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        extents = [operator.index(extent) for extent in wanted]  # type: ignore[arg-type]
        if extents.count(-1) == 1:
            known = 1
            for extent in extents:
                known *= 1 if extent == -1 else extent
            extents[extents.index(-1)] = self.size // known if known > 0 else 0
        if any(extent < 0 for extent in extents):
            raise ArgumentError(f"shape is {tuple(wanted)}; expected extents of 0 or more, and at most one -1")
        return DeviceArray.of(self.compiled.reshape(extents))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array with no dimensions has no length")
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> DeviceArray:
        """Views an item of the first axis, or consecutive ones."""
        rows = len(self)
        if isinstance(index, slice):
            first, last, step = index.indices(rows)
            if step == 1:
                return DeviceArray.of(self.compiled.part(first, max(last - first, 0)))
        elif not isinstance(index, bool | tuple | EllipsisType) and hasattr(index, "__index__"):
            number = operator.index(index)
            if not -rows <= number < rows:
                raise IndexError(f"index {number} is out of range for {rows} rows")
            return DeviceArray.of(self.compiled.part(number % rows, 1)).reshape(self.shape[1:])
        raise ArgumentError(
            f"index is {index!r:.60}; expected x[row] or x[first:last] on a device; for more, view the array with "
            "torch or cupy: torch.from_dlpack(x)"
        )

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.type_name}, device={self.device!r})"

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(f"it lies on {self.device}; .numpy() copies it to main memory")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a DeviceArray cannot be pickled; pickle x.numpy()")

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.compiled.device_number

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Exports the memory; no stream has to wait for it. With the CPU as `dl_device`, exports a copy.

        Raises BufferError for another device, and for copy=False if a copy is needed.
        """
        if stream is not None and (operator.index(stream) < -1 or stream == 0):
            raise ArgumentError(f"stream is {stream}; expected -1, 1, 2 or the handle of a CUDA stream")
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            if tuple(dl_device) != (_CPU, 0):
                raise BufferError(f"the array lies on {self.device} and cannot be exported to the device {dl_device}")
            if copy is False or self.type_name == "bfloat16":
                why = "without a copy" if copy is False else "through numpy, which has no bfloat16"
                raise BufferError(f"the array lies on {self.device} and cannot be exported to the CPU {why}")
            return self.numpy().__dlpack__()
        return self.compiled.dlpack(max_version is not None and max_version[0] >= 1, bool(copy))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the interface. Its stream is None: no work is pending."""
        if self.type_name == "bfloat16":
            raise AttributeError("the CUDA array interface has no bfloat16; use DLPack")
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.compiled.pointer, False),
            "strides": None,
            "stream": None,
        }


def on_device(value: object) -> bool:
    """Whether `value` is an array in the memory of a CUDA device, of this library or another."""
    if isinstance(value, np.ndarray | list | tuple | str):  # the common case, decided without a look at attributes
        return False
    return isinstance(value, DeviceArray) or _has_dlpack(value) or hasattr(value, "__cuda_array_interface__")


def _has_dlpack(value: Any) -> bool:
    return hasattr(value, "__dlpack_device__") and next(iter(value.__dlpack_device__())) == _CUDA


def as_device_array(value: Any, what: str) -> DeviceArray:
    """Views an array that is `on_device`, keeps it alive, and waits for pending work on the producer's stream.

    Raises `ArgumentError`, naming the array as `what`, if it cannot be read, and `DeviceError` if its device cannot be
    used.
    """
    if isinstance(value, DeviceArray):
        return value
    if not _has_dlpack(value):
        return DeviceArray.of(_from_interface(value, value.__cuda_array_interface__, what))
    try:
        try:  # stream 1: the default stream, which the compiled code synchronises with
            capsule = value.__dlpack__(stream=1, max_version=(1, 0))
        except TypeError:  # the producer is older than version 1 of DLPack
            capsule = value.__dlpack__(stream=1)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ArgumentError(f"{what} of type {type(value).__name__} does not export its memory: {error}") from error
    return DeviceArray.of(_core.DeviceArray.from_dlpack(capsule, what))


def _from_interface(owner: object, interface: Any, what: str) -> _core.DeviceArray:
    """Views an array by the CUDA array interface, version 3 or older."""
    try:
        pointer = operator.index(interface["data"][0])
        shape = [operator.index(extent) for extent in interface["shape"]]
        given = interface.get("strides")
        strides = None if given is None else [operator.index(stride) for stride in given]
        dtype = np.dtype(interface["typestr"])
        stream = interface.get("stream")
        masked = interface.get("mask") is not None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ArgumentError(f"{what} has a __cuda_array_interface__ that cannot be read: {error!r}") from error
    if masked or not dtype.isnative or pointer < 0 or any(extent < 0 for extent in shape):
        wrong = "a mask" if masked else f"the pointer {pointer}, shape {tuple(shape)} and type {dtype.str}"
        raise ArgumentError(f"{what} has {wrong} in its __cuda_array_interface__, which nestvec cannot read")
    if stream is not None and (not isinstance(stream, int) or stream < 1):
        raise ArgumentError(
            f"{what} has the stream {stream!r} in its __cuda_array_interface__; expected None, 1 for the default "
            "stream, 2 for that of the thread, or the handle of a stream"
        )
    return _core.DeviceArray.from_pointer(pointer, dtype.name, shape, strides, stream, None, owner, what)


def device_arrays(**values: Any) -> list[DeviceArray] | None:
    """Views the arrays of a call, which are given by the names that errors use; None if none is on a device.

    Raises `ArgumentError` unless all are on the same device.
    """
    placed = [on_device(value) for value in values.values()]
    if not any(placed):
        return None
    places: dict[str, str] = {}
    arrays = []
    for (name, value), is_placed in zip(values.items(), placed, strict=True):
        array = as_device_array(value, name) if is_placed else None
        places[name] = "the CPU" if array is None else array.device
        if array is not None:
            arrays.append(array)
    first, *others = places
    for other in others:
        if places[first] != places[other]:
            target = next(place for place in places.values() if place != "the CPU")
            raise ArgumentError(
                f"the arrays of this call lie on different devices, {first} on {places[first]} and {other} on "
                f"{places[other]}; expected all on one: nestvec.DeviceArray(x, {target!r}) copies a numpy array to it"
            )
    return arrays


def check_floats(array: DeviceArray, what: str, *shapes: tuple[str, ...]) -> DeviceArray:
    """Checks an array on a device as `arrays.as_floats` does, without a conversion. Returns the array."""
    if array.type_name not in _FLOATS:
        raise ArgumentError(
            f"{what} has the dtype {array.type_name}; expected {', '.join(_FLOATS)}: convert it on its device"
        )
    check_shape(array.shape, what, shapes)
    return array


def to_host(array: DeviceArray) -> npt.NDArray[Any]:
    """Copies an array to main memory, bfloat16 as float32."""
    copy = array.numpy()
    if array.type_name != "bfloat16":
        return copy
    return (copy.astype(np.uint32) << 16).view(np.float32)


def moved(arrays: tuple[npt.NDArray[Any], ...], device: str) -> tuple[Any, ...]:
    """Copies results to the device of the arguments."""
    return tuple([DeviceArray(array, device) for array in arrays])
