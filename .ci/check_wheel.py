"""Check a wheel in an environment with only the wheel and numpy: a table must work, and a missing extra be named.

usage: check_wheel.py ON|OFF: whether the wheel has the CUDA backend. It must be small, need no CUDA library and no
driver and, without a driver, say why it cannot use CUDA.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np

import nestvec as nv
import nestvec._core

MOST_BYTES = 15_000_000

rng = np.random.default_rng(0)
x = rng.standard_normal((1000, 64), dtype=np.float32)
table = nv.Table.build(x, codec="binary", rescore="int8")
hits = table.search(x[:10], k=3)
assert hits.ids[:, 0].tolist() == list(range(10)), hits.ids
try:
    nv.Encoder("somewhere")
except nv.errors.NestvecError as error:
    print("Encoder:", error)
print(nv.__file__, nv.__version__, nv.capabilities())

module = Path(nestvec._core.__file__)
print(f"{module.name}: {module.stat().st_size} bytes")
assert module.stat().st_size <= MOST_BYTES, f"more than {MOST_BYTES} bytes"
if sys.platform == "linux":
    needed = subprocess.run(["readelf", "--dynamic", str(module)], check=True, capture_output=True, text=True).stdout
    assert "libcu" not in needed, needed

try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    assert nv.backends() == ["cpu"], nv.backends()
    refusal = None
    try:
        table.to("cuda")
    except nv.errors.NestvecError as error:
        refusal = str(error)
    print("Table.to:", refusal)
    assert refusal is not None
    assert ("driver" if sys.argv[1] == "ON" else "built without") in refusal
