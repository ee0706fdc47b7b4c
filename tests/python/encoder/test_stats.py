"""Stats of several calls add up in every field."""

from __future__ import annotations

import dataclasses

from nestvec.encoder.stats import EncodeStats


def test_every_field_is_added() -> None:
    names = [field.name for field in dataclasses.fields(EncodeStats)]
    total = EncodeStats(**{name: 1 + i for i, name in enumerate(names)})
    total.add(EncodeStats(**{name: 100 * i for i, name in enumerate(names)}))
    assert dataclasses.astuple(total) == tuple(1 + 101 * i for i in range(len(names)))
