"""Arrays on a device: copies, views, and exchange with other libraries by DLPack and the CUDA array interface."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_arrays import DLPackArray, InterfaceArray, OldDLPackArray

import nestvec as nv
from nestvec.base.device_array import DeviceArray, as_device_array, device_arrays, on_device
from nestvec.errors import ArgumentError, DeviceError

X = np.arange(24, dtype=np.float32).reshape(4, 6)

needs_cuda = pytest.mark.skipif("cuda" not in nv.backends(), reason="no CUDA device, nor an emulated one")


@pytest.mark.skipif("cuda" in nv.backends(), reason="this machine has a CUDA device, or an emulated one")
@pytest.mark.parametrize("device", [None, "cuda", "cuda:1"])
def test_without_cuda(device: str | None) -> None:
    with pytest.raises(DeviceError, match='device is "cuda'):
        DeviceArray(X, device)


@needs_cuda
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint64", "bool"]
)
def test_to_the_device_and_back(dtype: str) -> None:
    x = X.astype(dtype)
    array = DeviceArray(x)
    assert (array.shape, array.ndim, array.size, array.nbytes, len(array)) == ((4, 6), 2, 24, x.nbytes, 4)
    assert (array.dtype, array.device) == (np.dtype(dtype), "cuda:0")
    assert repr(array) == f"DeviceArray(shape=(4, 6), dtype={dtype}, device='cuda:0')"
    back = array.numpy()
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)


@needs_cuda
def test_numpy_arrays_are_copied_and_device_arrays_viewed() -> None:
    strided = np.arange(48.0).reshape(4, 12)[:, ::2]
    np.testing.assert_array_equal(DeviceArray(strided).numpy(), strided)
    np.testing.assert_array_equal(DeviceArray([[1, 2], [3, 4]]).numpy(), [[1, 2], [3, 4]])
    assert DeviceArray(np.float32(3)).shape == ()
    array = DeviceArray(X, "cuda:1")
    assert array.device == "cuda:1"
    assert DeviceArray(array).compiled.pointer == array.compiled.pointer
    with pytest.raises(ArgumentError, match=r"x lies on cuda:1, but device is 'cuda:0'"):
        DeviceArray(array, "cuda:0")


@needs_cuda
@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0), (2, 0, 4)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    array = DeviceArray(np.empty(shape, np.float32))
    assert (array.shape, array.size, array.numpy().shape) == (shape, 0, shape)
    assert as_device_array(DLPackArray(array), "x").shape == shape
    assert as_device_array(InterfaceArray(array), "x").shape == shape
    assert array.__cuda_array_interface__["data"] == (0, False)


@needs_cuda
def test_parts_and_shapes() -> None:
    array = DeviceArray(X)
    for part in (slice(None), slice(1, 3), slice(2, None), slice(-1, None), slice(3, 1), slice(9, 12)):
        np.testing.assert_array_equal(array[part].numpy(), X[part])
    for row in (0, 3, -1, np.int64(2)):
        np.testing.assert_array_equal(array[row].numpy(), X[row])
    np.testing.assert_array_equal(array[1:3][1][2:4].numpy(), X[1:3][1][2:4])
    for shape in ((24,), (2, -1), (2, 3, 4), (-1, 1, 6)):
        np.testing.assert_array_equal(array.reshape(*shape).numpy(), X.reshape(shape))
    assert array.reshape((3, 8)).shape == (3, 8)
    assert DeviceArray(np.empty((0, 4), np.int8)).reshape(-1, 2).shape == (0, 2)
    assert array[1:].compiled.pointer == array.compiled.pointer + 24
    with pytest.raises(IndexError, match="index 4 is out of range for 4 rows"):
        array[4]
    for index in (slice(None, None, 2), (0, 1), ..., True, "row", 1.0):
        with pytest.raises(ArgumentError, match=r"x\[row\] or x\[first:last\].*torch"):
            array[index]  # type: ignore[index]
    for shape in ((5,), (-1, -1), (-2, 12), (-1, 5), (2**40, 2**40)):
        with pytest.raises(ArgumentError, match="shape"):
            array.reshape(*shape)
    with pytest.raises(TypeError, match="no dimension"):
        len(DeviceArray(np.float32(3)))


@needs_cuda
def test_a_view_keeps_the_memory() -> None:
    array = DeviceArray(X)
    part = array[2:]
    del array
    gc.collect()
    DeviceArray(np.zeros_like(X))  # would reuse the memory if it were free
    np.testing.assert_array_equal(part.numpy(), X[2:])


@needs_cuda
def test_numpy_takes_only_an_explicit_copy() -> None:
    array = DeviceArray(X)
    with pytest.raises(TypeError, match=r"lies on cuda:0; \.numpy\(\)"):
        np.asarray(array)
    with pytest.raises(ArgumentError, match=r"x of type DeviceArray .*lies on cuda:0; \.numpy\(\)"):
        nv.Table.build(array)
    for fails in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match=r"x\.numpy\(\)"):
            fails(array)


@needs_cuda
def test_dlpack_out() -> None:
    array = DeviceArray(X, "cuda:1")
    assert array.__dlpack_device__() == (2, 1)
    for options in ({}, {"max_version": (1, 0)}, {"max_version": (0, 8)}, {"stream": 1}, {"stream": -1, "copy": False}):
        name = '"dltensor_versioned"' if options.get("max_version") == (1, 0) else '"dltensor"'
        assert name in repr(array.__dlpack__(**options))  # type: ignore[arg-type]
    for stream in (0, -2):
        with pytest.raises(ArgumentError, match=f"stream is {stream}; expected"):
            array.__dlpack__(stream=stream)
    with pytest.raises(BufferError, match=r"cannot be exported to the device \(2, 0\)"):
        array.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="to the CPU without a copy"):
        array.__dlpack__(dl_device=(1, 0), copy=False)


@needs_cuda
@pytest.mark.parametrize("versioned", [False, True])
def test_dlpack_out_and_in_again(versioned: bool) -> None:
    class Relay:
        def __init__(self, array: DeviceArray, copy: bool | None) -> None:
            self.array, self.copy = array, copy

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

        def __dlpack__(self, *, stream: int, max_version: tuple[int, int]) -> Any:
            version = max_version if versioned else None
            return self.array.__dlpack__(stream=stream, max_version=version, copy=self.copy)

    array = DeviceArray(X, "cuda:1")
    again, copied = DeviceArray(Relay(array, None)), DeviceArray(Relay(array, True))
    assert (again.device, again.compiled.pointer) == ("cuda:1", array.compiled.pointer)
    assert copied.compiled.pointer != array.compiled.pointer
    del array
    gc.collect()
    np.testing.assert_array_equal(again.numpy(), X)
    np.testing.assert_array_equal(copied.numpy(), X)


@needs_cuda
@pytest.mark.skipif(int(np.__version__[0]) < 2, reason="numpy 2 asks for a copy on the CPU")
def test_dlpack_to_numpy() -> None:
    np.testing.assert_array_equal(np.from_dlpack(DeviceArray(X), device="cpu"), X)  # type: ignore[arg-type]


@needs_cuda
@pytest.mark.parametrize("kind", [DLPackArray, OldDLPackArray])
def test_dlpack_in(kind: type[DLPackArray]) -> None:
    memory = DeviceArray(X)
    foreign = kind(memory, strides=(6, 1))
    seen = as_device_array(foreign, "x")
    assert seen.compiled.pointer == memory.compiled.pointer
    assert foreign.streams == [1]
    np.testing.assert_array_equal(seen[1:].numpy(), X[1:])
    part = seen[1:]
    del seen
    assert foreign.released == 0
    del part
    assert foreign.released == 1
    offset = as_device_array(kind(memory, byte_offset=24, shape=(3, 6)), "x")
    np.testing.assert_array_equal(offset.numpy(), X[1:])
    padded = as_device_array(kind(memory, shape=(1, 6), strides=(1000, 1)), "x")  # an extent of 1 has no stride
    np.testing.assert_array_equal(padded.numpy(), X[:1])


@needs_cuda
def test_dlpack_with_bfloat16() -> None:
    rows = np.array([[1.0, -2.5], [0.0, 3.0e38]], np.float32)
    halves = (rows.view(np.uint32) >> 16).astype(np.uint16)
    seen = as_device_array(DLPackArray(DeviceArray(halves), "bfloat16"), "x")
    assert (seen.type_name, seen.dtype, "bfloat16" in repr(seen)) == ("bfloat16", np.dtype("uint16"), True)
    np.testing.assert_array_equal(seen.numpy(), halves)
    assert not hasattr(seen, "__cuda_array_interface__")
    assert '"dltensor"' in repr(seen.__dlpack__())
    with pytest.raises(BufferError, match="numpy, which has no bfloat16"):
        seen.__dlpack__(dl_device=(1, 0))


@needs_cuda
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strides": (12, 2)}, r"x is a device array of shape \(4, 6\) with strides \(48, 8\) bytes; expected C-cont"),
        ({"strides": (1, 4)}, r"with strides \(4, 16\) bytes.*make a contiguous copy on the device"),
        ({"strides": (0, 1)}, "C-contiguous"),
        ({"strides": (2**62, 1)}, "C-contiguous"),
        ({"data": None}, "x is a device array of shape .* null pointer"),
        ({"byte_offset": 2, "shape": (3, 6)}, "no multiple of 4; make a copy of it on the device"),
        ({"data": 4096}, "says that its memory is of cuda:0, and it is of no CUDA device"),
        ({"device": (2, 1)}, "says that its memory is of cuda:1, and it is of cuda:0"),
        ({"shape": (4, -6)}, "x has a negative dimension"),
        ({"shape": (2**40, 2**40)}, r"shape \(1099511627776, 1099511627776\) would take more bytes than memory has"),
        ({"items": (5, 64, 1)}, r"x has items of DLPack's type \(5, 64 bits, 1 lanes\)"),
        ({"items": (2, 32, 4)}, "4 lanes"),
        ({"items": (0, 4, 1)}, "4 bits"),
        ({"version": (2, 0)}, "x comes by version 2 of DLPack; expected 1 at most"),
    ],
)
def test_dlpack_that_is_refused(fields: dict[str, Any], message: str) -> None:
    foreign = DLPackArray(DeviceArray(X), **fields)
    with pytest.raises(ArgumentError, match=message):
        as_device_array(foreign, "x")


@needs_cuda
def test_a_missing_device() -> None:
    with pytest.raises(DeviceError, match='device is "cuda:63"'):
        as_device_array(DLPackArray(DeviceArray(X), device=(2, 63)), "x")


@needs_cuda
def test_a_producer_that_fails() -> None:
    class Failing(DLPackArray):
        error: Exception = BufferError("it needs a gradient")

        def __dlpack__(self, **_: Any) -> Any:
            raise self.error

    foreign = Failing(DeviceArray(X))
    with pytest.raises(ArgumentError, match="x of type Failing does not export its memory: it needs a gradient"):
        as_device_array(foreign, "x")

    class Used(DLPackArray):
        def __dlpack__(self, **options: Any) -> Any:
            capsule = DeviceArray(X).__dlpack__()
            nv._core.DeviceArray.from_dlpack(capsule, "x")
            return capsule

    with pytest.raises(ArgumentError, match="no DLPack tensor, or one that was used before"):
        as_device_array(Used(DeviceArray(X)), "x")


@needs_cuda
@pytest.mark.parametrize("fields", [{}, {"stream": 1}, {"stream": 2}, {"strides": (24, 4)}, {"version": 2}])
def test_interface_in(fields: dict[str, Any]) -> None:
    foreign = InterfaceArray(DeviceArray(X), **fields)
    gone = weakref.ref(foreign)
    seen = as_device_array(foreign, "x")
    assert seen.compiled.pointer == foreign.memory.compiled.pointer
    del foreign
    gc.collect()
    assert gone() is not None  # a view keeps another library's memory alive
    np.testing.assert_array_equal(seen.numpy(), X)
    del seen
    gc.collect()
    assert gone() is None


@needs_cuda
def test_the_device_of_an_interface_is_that_of_its_memory() -> None:
    assert as_device_array(InterfaceArray(DeviceArray(X, "cuda:1")), "x").device == "cuda:1"


@needs_cuda
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strides": (48, 8)}, r"strides \(48, 8\) bytes; expected C-contiguous"),
        ({"strides": (4,)}, "with 1 strides; expected one for each dimension"),
        ({"data": (0, False)}, "null pointer"),
        ({"data": (4096, False)}, "of no CUDA device: it was freed, or is main memory"),
        ({"shape": (-4, 6)}, "cannot read"),
        ({"shape": None}, "cannot be read"),
        ({"typestr": "<c8"}, "the dtype is complex64"),
        ({"typestr": ">f4"}, "cannot read"),
        ({"typestr": "?4"}, "cannot be read"),
        ({"typestr": "|V3"}, "the dtype is void"),
        ({"mask": 1}, "has a mask"),
        ({"stream": 0}, "the stream 0 in its __cuda_array_interface__; expected None, 1 for the default"),
        ({"stream": "main"}, "the stream 'main'"),
    ],
)
def test_interfaces_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        as_device_array(InterfaceArray(DeviceArray(X), **fields), "x")


@needs_cuda
def test_an_invalid_stream() -> None:
    with pytest.raises(DeviceError, match=r"the handle 51966, which is no stream of cuda:0.*destroyed"):
        as_device_array(InterfaceArray(DeviceArray(X), stream=0xCAFE), "x")


@needs_cuda
def test_memory_that_was_freed() -> None:
    foreign = InterfaceArray(DeviceArray(X))
    del foreign.memory
    gc.collect()
    with pytest.raises(ArgumentError, match="it was freed"):
        as_device_array(foreign, "x")


@needs_cuda
def test_out_of_device_memory(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    huge = np.memmap(tmp_path / "holes", np.int8, mode="r")
    with pytest.raises(DeviceError, match=r"an array needs 1099511627776 bytes .* of memory on cuda:0, and \d+ bytes"):
        DeviceArray(huge)


@needs_cuda
def test_the_arrays_of_a_call_lie_on_one_device() -> None:
    first, second = DeviceArray(X), DeviceArray(X, "cuda:1")
    assert device_arrays(a=X, b=[[1]]) is None
    assert device_arrays(a=first, b=DLPackArray(first)) is not None
    for a, b, message in (
        (first, X, r"a on cuda:0 and b on the CPU; .*nestvec\.DeviceArray\(x, 'cuda:0'\)"),
        (X, second, "a on the CPU and b on cuda:1"),
        (first, second, "a on cuda:0 and b on cuda:1"),
    ):
        with pytest.raises(ArgumentError, match=message):
            device_arrays(a=a, b=b)


def test_values_that_are_not_on_a_device() -> None:
    class OnTheCpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    values: list[Any] = [X, [1], (1,), "text", 3, None, OnTheCpu(), X[0, 0]]
    assert not any(map(on_device, values))


@needs_cuda
@pytest.mark.parametrize(
    "make", [DeviceArray, lambda x: DLPackArray(DeviceArray(x)), lambda x: InterfaceArray(DeviceArray(x))]
)
def test_arrays_that_are_on_a_device(make: Callable[[Any], Any]) -> None:
    assert on_device(make(X))
