"""Working ahead in a thread: order, errors, and cleanup when the consumer stops early."""

import threading
import time
from collections.abc import Iterator

import pytest

from ecmvae.prediction.ahead import worked_ahead


def test_items_come_in_order_and_at_most_so_many_ahead() -> None:
    begun: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(6):
            begun.append(number)
            yield number

    items = worked_ahead(numbers(), count=1)
    assert next(items) == 0
    time.sleep(0.3)
    assert begun == [0, 1, 2]  # one waits, one stands before the full queue
    assert list(items) == [1, 2, 3, 4, 5]


def test_an_error_is_raised_where_the_items_are_taken() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    items = worked_ahead(numbers())
    assert next(items) == 1
    with pytest.raises(KeyError, match="broken"):
        next(items)


def test_who_stops_early_closes_the_iterator_and_ends_the_thread() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = worked_ahead(numbers())
    next(items)
    items.close()
    assert closed.is_set()
    assert "ecmvae-ahead" not in {thread.name for thread in threading.enumerate()}
