"""The candidates of tune: names, calls, budgets, prefixes."""

from __future__ import annotations

import pytest

from nestvec.errors import ArgumentError
from nestvec.tuning.candidates import Plan, Search, plans


def names(dim: int, *args: object, **options: object) -> list[str]:
    return [plan.name(search) for plan in plans(dim, *args, **options) for search in plan.searches]  # type: ignore[arg-type]


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 16, 384, 768])
def test_every_candidate_once_and_none_with_more_codes_than_dimensions(dim: int) -> None:
    found = names(dim)
    assert len(set(found)) == len(found) > 20
    assert len({plan.codec for plan in plans(dim)}) == len(plans(dim))
    sizes = [int(part.strip("opq").split("x")[0]) for plan in plans(dim) for part in plan.codec if "pq" in part]
    assert sizes
    assert all(1 <= size <= dim for size in sizes)


def test_cheap_and_informative_candidates_come_first() -> None:
    order = [" + ".join(plan.codec) for plan in plans(384)]
    assert order[:4] == ["float32", "int8", "binary", "binary + int8"]
    fits = [index for index, name in enumerate(order) if "pq" in name]
    assert fits == list(range(fits[0], len(order)))


def test_a_budget_in_bytes_adds_product_quantizers_that_fill_it() -> None:
    added = set(names(384, (), 60.5)) - set(names(384))
    assert added == {"pq60x8", "opq60x8", "pq120x4"}
    assert names(384, (), 1e6) == names(384)


def test_prefixes_only_where_the_codec_keeps_the_order_of_dimensions() -> None:
    cut = [plan for plan in plans(64, (32, 16)) if plan.width < 64 or plan.dims]
    assert {plan.codec[0] for plan in cut} == {"int8", "int4", "binary"}
    assert {plan.dims for plan in cut if len(plan.codec) > 1} == {(16, 32)}
    assert {plan.width for plan in cut if len(plan.codec) == 1} == {16, 32}


def test_names_and_calls() -> None:
    plan = Plan(("binary", "int8"), 64, 64, (search := Search(32, "float", (8,)),))
    assert plan.name(search) == "binary + int8, 32 dimensions scanned, float query, oversample 8"
    assert "dims=(32,)" in plan.call(search, "cosine")
    assert 'metric="ip"' in plan.call(search, "ip")
    assert "metric" not in plan.call(search, "cosine")
    assert plan.search_options(Search(64, None, (8, 2))) == {"oversample": (8, 2)}
    assert plan.name(Search(64, confidence=0.99)) == "binary + int8, confidence 0.99"
    assert plan.search_options(Search(64, confidence=0.99)) == {"confidence": 0.99}
    plan = Plan(("int8",), 32, 64, (search := Search(32),))
    assert plan.name(search) == "int8, 32 dimensions"
    assert plan.call(search, "cosine") == (
        'table = nestvec.Table.build(x[:, :32], codec="int8")\nhits = table.search(queries[:, :32], k=10)'
    )


def test_named_codecs() -> None:
    assert [plan.codec for plan in plans(64, codecs=["opq7x8", " binary + int8 "])] == [("opq7x8",), ("binary", "int8")]
    for repeated in ([], ["int8", "int8"], ["binary+int8", "binary + int8"]):
        with pytest.raises(ArgumentError, match="expected distinct names, such as"):
            plans(64, codecs=repeated)
    for unknown in ("zip", "binary+", "", "pq8"):
        with pytest.raises(ArgumentError, match=r"codec is .*; expected one of float32"):
            plans(64, codecs=["int8", unknown])
