"""Work ahead in a thread: while frames are drawn and encoded, the next window goes through the model."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")

_LOOK_UP = 0.1  # seconds between two looks at whether anybody still waits


class _End:
    """After the last item: the exception that ended the iterator, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def worked_ahead(items: Iterator[Item], count: int = 1) -> Generator[Item, None, None]:
    """The items of an iterator that runs in a thread, at most `count` of them ahead of who takes them.

    An exception of the iterator is raised here. When this generator is closed, the iterator is closed too, in its
    thread and as soon as the item that it is working on is done.

    Args:
        items: Decoding, onnxruntime and PyTorch let other threads run; pure Python would gain nothing.
        count: Items that may wait.
    """
    waiting: Queue[Item | _End] = Queue(maxsize=count)
    stop = Event()

    def hand_over(item: Item | _End) -> None:
        while not stop.is_set():
            with suppress(Full):
                waiting.put(item, timeout=_LOOK_UP)
                return

    def work() -> None:
        end = _End()
        try:
            try:
                for item in items:
                    hand_over(item)
                    if stop.is_set():
                        break
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except (
            BaseException
        ) as error:  # also KeyboardInterrupt and its kin: it is raised where the items are taken
            end = _End(error)
        hand_over(end)

    thread = Thread(target=work, name="ecmvae-ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = waiting.get(timeout=_LOOK_UP)  # a wait without end would keep Ctrl-C out
            except Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()
