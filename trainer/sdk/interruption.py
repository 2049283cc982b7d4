"""Ctrl-C, or a notebook's stop button, as a wish: the search ends, and the best so far is finished."""

import signal
import sys
import threading
from types import FrameType


class Interruption:
    """A context in which the first SIGINT is remembered, and the second raises KeyboardInterrupt.

    Signals come to the main thread alone: in another one it changes nothing.
    """

    def __init__(self) -> None:
        self._asked = self._twice = False
        self._main = threading.current_thread() is threading.main_thread()

    def asked(self) -> bool:
        return self._asked

    def __enter__(self) -> "Interruption":
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._twice = True
            raise KeyboardInterrupt
        self._asked = True
        print("\ngenba: the search ends; finishing the best so far (Ctrl-C again to stop at once)", file=sys.stderr)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)
        if self._twice and error is not None and kind is not KeyboardInterrupt:
            raise KeyboardInterrupt from error  # what was stopped in the middle failed for that
