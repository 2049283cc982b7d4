"""Reading ahead and writing behind, in threads: while a batch is predicted, the next is read and the last written."""

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


class ReadAhead(Generic[T]):
    """Iterates in a thread of its own, a few items ahead. What it raises is raised in turn."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[T | BaseException | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="score-reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:
            end = error
        self._put(end)

    def _put(self, item: T | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop reading, and wait until the thread has ended."""
        self._closed.set()
        self._thread.join()


class WriteBehind(Generic[T]):
    """Hands items to a function in a thread of its own, in their order.

    Once the function has raised, nothing more is handed to it, and the next `put` or `finish` raises the same.
    """

    def __init__(self, write: Callable[[T], None], depth: int) -> None:
        self._write = write
        self._queue: queue.Queue[T | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="score-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None or self._abandoned:
                continue
            try:
                self._write(item)
            except BaseException as error:
                self._error = error

    def put(self, item: T) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(item)

    def finish(self) -> None:
        """Wait until everything is written."""
        self._end()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Write nothing more than what is being written, and wait for that."""
        self._abandoned = True
        self._end()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()


def undisturbed(work: Callable[[], T]) -> T:
    """Do what takes a moment and must not stop half way, and pay no heed to Ctrl-C meanwhile."""
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C reaches no other
        return work()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return work()
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
