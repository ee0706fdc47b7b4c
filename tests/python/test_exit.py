"""An interpreter that exits while its daemon threads are inside the compiled module, or the pool is busy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nestvec as nv

# Exits while a daemon thread makes calls, which are short: several end while the interpreter does.
DAEMON = """
import os, tempfile, threading
import numpy as np
import nestvec as nv

x = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)
codes = nv.quantize(x, "ubinary")
signed = nv.quantize(x, "int8")
table = nv.Table.build(x, codec="binary", rescore="float32")
lists = [[i, i + 7] for i in range(64)]
pipeline = nv.Pipeline([nv.Pooling(("mean",)), nv.Normalize()], 64)
hidden, mask = x.reshape(64, 64, 64), np.ones((64, 64), np.int64)
rotation = nv.stages.RandomRotation(seed=1).fit(x)
pca = nv.stages.PCA(16).fit(x)
int4 = nv.fit("int4", x)
coded = int4.encode(x)
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "table")
table.save(path)
on_device = {on_device} and nv.DeviceArray(x, "cuda")
started = threading.Event()

def loop():
    try:
        while True:
            {call}
            started.set()
    except BaseException as error:
        wrong.append(error)
        started.set()

wrong = []
threading.Thread(target=loop, daemon=True).start()
started.wait()
assert not wrong, wrong
"""
CALLS = [
    "table.search(x[:500], 10)",
    "table.search(x[:64], 10, filter=lists)",
    "table.search(x[:1], 10)",
    "table.search(x[:64], 10, confidence=0.9)",
    "table.vectors(range(2000))",
    "nv.Table.open(path).search(x[:20], 10)",
    "nv.Table.build(x).save(path)",
    "nv.Table.build(x[:600], codec='pq4x4')",
    "nv.fit('pq4x8', x[:600])",
    "nv.hamming_topk(codes[:50], codes, 5)",
    "nv.inner_topk(x[:50], x, 5)",
    "nv.inner_topk(signed[:50], signed, 5)",
    "nv.quantize(x, 'int8')",
    "nv.quantize(x, 'int8', ranges=np.float32([[-5] * 64, [5] * 64]))",
    "nv.normalize(x)",
    "pipeline(hidden, mask)",
    "rotation.transform(x)",
    "pca.transform(x)",
    "int4.decode(coded)",
]
ON_DEVICE = [
    "nv.DeviceArray(x, 'cuda').numpy()",
    "nv.inner_topk(on_device[:8], on_device[:256], 5)",
    "nv.normalize(on_device[:64])",
    "nv.quantize(on_device[:64], 'int8')",
    "nv.Table.build(x[:256]).to('cuda').search(x[:8], 3)",
]
# As http.server does it: a daemon thread for each request.
SERVER = """
import http.server, threading, urllib.request
import numpy as np
import nestvec as nv

x = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)
table = nv.Table.build(x)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 10)
        self.wfile.flush()
        while True:
            table.search(x[:20], 10)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}").read(10)
"""
# Threads that are no daemons end before the interpreter does, whatever the pool does meanwhile.
JOINED = """
import os, threading
import numpy as np
import nestvec as nv

x = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
table = nv.Table.build(x)
expected = table.search(x[:600], 10).ids

def search():
    assert np.array_equal(table.search(x[:600], 10, threads=3).ids, expected)
    os.write(1, b"right ")

for _ in range(3):
    threading.Thread(target=search).start()
"""
# A call while the interpreter takes objects down, which only its main thread can do.
LATE = """
import numpy as np
from nestvec import _core

class Late:
    x = np.eye(64, dtype=np.float32)
    normalize = staticmethod(_core.normalize)
    def __del__(self):
        print(len(self.normalize(self.x)))

kept = Late()
kept.normalize(kept.x)
"""


def run(code: str) -> str:
    """Runs it over the module that is tested, as conftest.py takes it."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "ignore", "-c", f"import conftest\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("call", CALLS)
def test_a_daemon_thread_inside_a_call(call: str) -> None:
    run(DAEMON.format(call=call, on_device=False))


@pytest.mark.skipif("cuda" not in nv.backends(), reason="no CUDA device, nor an emulated one")
@pytest.mark.parametrize("call", ON_DEVICE)
def test_a_daemon_thread_inside_a_call_on_a_device(call: str) -> None:
    run(DAEMON.format(call=call, on_device=True))


def test_a_server_whose_threads_are_daemons() -> None:
    run(SERVER)


def test_threads_that_end_first() -> None:
    assert run(JOINED) == "right " * 3


def test_a_call_by_an_object_that_is_taken_down() -> None:
    assert run(LATE) == "64\n"
