"""The NVIDIA driver through ctypes: properties of the first GPU, and its copy bandwidth by events of the device.

libcuda comes with every driver, so this needs neither a CUDA toolkit nor a package. Errors are RuntimeErrors that name
the call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

MULTIPROCESSORS, CLOCK_KHZ, MAJOR, MINOR, L2_BYTES = 16, 13, 75, 76, 38  # CUdevice_attribute


@dataclass(frozen=True)
class Gpu:
    """Properties of the first GPU."""

    name: str
    driver: str
    memory: int
    multiprocessors: int
    hertz: float
    capability: tuple[int, int]
    l2: int

    def __str__(self) -> str:
        major, minor = self.capability
        return (
            f"{self.name}, compute capability {major}.{minor}, {self.multiprocessors} multiprocessors, "
            f"{self.hertz / 1e9:.2f} GHz at most, {self.memory / 2**30:.0f} GiB, L2 cache {self.l2 / 2**20:.0f} MiB, "
            f"driver for CUDA {self.driver}"
        )


class Driver:
    """libcuda, with the first GPU's primary context, which the CUDA runtime also uses."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise RuntimeError(f"no NVIDIA driver: {error}") from error
        self._call("cuInit", 0)
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if count.value == 0:
            raise RuntimeError("the NVIDIA driver finds no GPU")
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self.gpu = self._describe(device)
        self._device = device

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError(f"{name} failed: {(text.value or b'unknown error').decode()} ({code})")

    def _describe(self, device: ctypes.c_int) -> Gpu:
        def attribute(number: int) -> int:
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), number, device)
            return value.value

        name = ctypes.create_string_buffer(100)
        self._call("cuDeviceGetName", name, 100, device)
        memory, version = ctypes.c_size_t(), ctypes.c_int()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return Gpu(
            name.value.decode(),
            f"{version.value // 1000}.{version.value % 1000 // 10}",
            memory.value,
            attribute(MULTIPROCESSORS),
            attribute(CLOCK_KHZ) * 1e3,
            (attribute(MAJOR), attribute(MINOR)),
            attribute(L2_BYTES),
        )

    def copy_rates(self, nbytes: int = 1 << 30, rounds: int = 9) -> dict[str, float]:
        """Median bytes per second of copies within the device (bytes read plus bytes written) and to the device."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxPushCurrent_v2", context)
        source, target, pinned = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_void_p()
        try:
            self._call("cuMemAlloc_v2", ctypes.byref(source), ctypes.c_size_t(nbytes))
            self._call("cuMemAlloc_v2", ctypes.byref(target), ctypes.c_size_t(nbytes))
            self._call("cuMemHostAlloc", ctypes.byref(pinned), ctypes.c_size_t(nbytes // 4), 0)
            within = self._seconds("cuMemcpyDtoDAsync_v2", rounds, target, source, ctypes.c_size_t(nbytes), None)
            to_device = self._seconds(
                "cuMemcpyHtoDAsync_v2", rounds, source, pinned, ctypes.c_size_t(nbytes // 4), None
            )
        finally:
            for free, memory in (("cuMemFree_v2", source), ("cuMemFree_v2", target), ("cuMemFreeHost", pinned)):
                if memory.value:
                    self._call(free, memory)
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)
        return {"within the device": 2 * nbytes / within, "to the device": nbytes / 4 / to_device}

    def _seconds(self, name: str, rounds: int, *arguments: Any) -> float:
        """Median seconds of a call on the default stream, between events, after two calls that warm up."""
        start, end, took = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_float()
        for event in (start, end):
            self._call("cuEventCreate", ctypes.byref(event), 0)
        times = []
        for _ in range(rounds + 2):
            self._call("cuEventRecord", start, None)
            self._call(name, *arguments)
            self._call("cuEventRecord", end, None)
            self._call("cuEventSynchronize", end)
            self._call("cuEventElapsedTime", ctypes.byref(took), start, end)
            times.append(took.value / 1e3)
        for event in (start, end):
            self._call("cuEventDestroy_v2", event)
        return median(times[2:])


def found(make: Callable[[], Driver] = Driver) -> tuple[Driver | None, str]:
    """The driver, or None and the reason."""
    try:
        return make(), ""
    except RuntimeError as error:
        return None, str(error)
