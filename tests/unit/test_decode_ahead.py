"""Work a thread does ahead of who asks for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from labkit.decode.pipeline import ahead


def test_results_come_in_the_items_order() -> None:
    assert list(ahead(range(100), lambda one: one * one, most=3)) == [
        number * number for number in range(100)
    ]
    assert list(ahead([], str, most=3)) == []


def test_items_are_fetched_by_who_asks_and_no_more_of_them_than_may_wait() -> None:
    fetched: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            fetched.append(threading.get_ident())
            yield number

    results = ahead(items(), lambda one: threading.get_ident(), most=2)
    worker = next(results)
    assert fetched == [threading.get_ident()] * 3
    assert worker != threading.get_ident()
    assert set(results) == {worker}


def test_an_error_of_the_work_is_raised_where_its_result_would_be_and_its_thread_ends() -> None:
    before = threading.active_count()
    results = ahead([1, 0, 2], lambda one: 1 / one, most=1)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before


def test_a_loop_left_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = ahead(range(10), str, most=2)
    next(results)
    results.close()
    assert threading.active_count() == before
