"""Run in an environment that has the wheel and numpy alone: the engine must work there, and name a missing extra."""

import numpy as np

import nestvec as nv

rng = np.random.default_rng(0)
x = rng.standard_normal((1000, 64), dtype=np.float32)
hits = nv.Table.build(x, codec="binary", rescore="int8").search(x[:10], k=3)
assert hits.ids[:, 0].tolist() == list(range(10)), hits.ids
try:
    nv.Encoder("somewhere")
except nv.errors.NestvecError as error:
    print("Encoder:", error)
print(nv.__file__, nv.__version__, nv.capabilities())
