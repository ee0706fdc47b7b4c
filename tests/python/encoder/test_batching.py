"""Packing texts into batches, and working a window ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.encoder.batching import one_ahead, pack, windows


@given(st.lists(st.integers(0, 300), max_size=200), st.sampled_from([32, 512, 1024]))
def test_every_text_is_in_one_batch_and_batches_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    batches = pack(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = lengths[batch[0]]
        assert longest == max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert len(batch) * longest - sum(lengths[i] for i in batch) <= budget // 32


def test_longest_first_and_equal_lengths_in_order() -> None:
    assert pack([3, 8, 3, 8, 3], 24) == [[1, 3], [0, 2, 4]]
    assert pack([4] * 5, 8) == [[0, 1], [2, 3], [4]]


def test_a_long_text_runs_alone_rather_than_pad_short_ones() -> None:
    assert pack([256, 10, 10, 9, 8], 1024) == [[0], [1, 2, 3, 4]]


def test_a_text_over_the_budget_is_a_batch() -> None:
    assert pack([5000, 2], 1024) == [[0], [1]]
    assert pack([], 1024) == []


def test_windows() -> None:
    assert list(windows(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(windows(iter(()), 3)) == []


def test_results_are_in_order_and_the_next_is_made_ahead() -> None:
    events: list[str] = []
    started = {i: threading.Event() for i in range(4)}

    def work(i: int) -> int:
        started[i].set()
        return i * i

    def items() -> Iterator[int]:
        for i in range(4):
            events.append(f"{i} drawn by {threading.current_thread().name}")
            yield i

    results = one_ahead(work, items())
    assert next(results) == 0
    assert started[1].wait(10)  # started before the caller asks for it
    assert not started[2].is_set()
    assert list(results) == [1, 4, 9]
    name = threading.current_thread().name
    assert events == [f"{i} drawn by {name}" for i in range(4)]


def test_an_exception_in_the_background_is_raised_in_its_place() -> None:
    def work(i: int) -> float:
        return 1 / i

    results = one_ahead(work, [1, 2, 0, 4])
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_exception_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(one_ahead(str, items()))


def test_leaving_early_leaves_no_thread_behind() -> None:
    results = one_ahead(str, iter(range(1000)))
    assert next(results) == "0"
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nestvec-ahead")]


def test_no_items() -> None:
    assert list(one_ahead(str, [])) == []
