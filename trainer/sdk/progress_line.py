"""One line that says how far a run is: on a terminal, or in a notebook, where it is plain text too."""

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

#: Seconds between two updates: each is a message to the browser.
PAUSE_S = 0.2
_WIDTH = 100


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel, which has no terminal and shows what is written."""
    made: Any = sys.modules.get("IPython")
    shell = made.get_ipython() if made is not None else None
    return shell is not None and hasattr(shell, "kernel")


class ProgressLine:
    """A line that writes over itself, by carriage returns alone.

    Args:
        stream: where to; written only if it is a terminal or a notebook's, or `always`.
        timer: seconds that only rise.
    """

    def __init__(
        self, stream: TextIO | None = None, *, always: bool = False, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._notebook = in_notebook()
        self._stream = stream or (sys.stdout if self._notebook else sys.stderr)
        self._live = always or self._notebook or self._stream.isatty()
        self._timer = timer
        self._begun = self._written = timer()
        self._length = 0

    def __call__(self, text: str, share: float) -> None:
        """Say what is being done, and which share is done, 0 to 1."""
        now = self._timer()
        if not self._live or (self._length and share < 1 and now - self._written < PAUSE_S):
            return
        self._written = now
        self._write(f"{'#' * round(share * 20):<20} {share:4.0%} {now - self._begun:4.0f} s  {text}"[:_WIDTH])

    def close(self) -> None:
        """Make room for what comes next: the line is wiped away, or in a notebook, where it stays, ended."""
        if self._length:
            self._stream.write("\n" if self._notebook else f"\r{'':<{self._length}}\r")
            self._stream.flush()
            self._length = 0

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: str) -> None:
        self._stream.write(f"\r{line:<{self._length}}")
        self._stream.flush()
        self._length = max(1, len(line))
