"""One line on a terminal: rows, rows a second, time left."""

from collections.abc import Callable
from typing import TextIO

_EVERY_S = 0.2


class ProgressLine:
    """Says how far a run is, on a terminal alone.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._shown = stream.isatty()
        self._width = 0
        self.begin("")

    def begin(self, what: str) -> None:
        """Begin to count; `what` goes before what is shown from now on, and is shown at once."""
        self._what = what
        self._began = self._last = self._clock()
        self._first: tuple[int, float] | None = None
        if self._shown and what:
            self._write(f"{what}...")

    def show(self, done: int, share: float) -> None:
        """Show rows done, and the share of the source that they are, 0 to 1."""
        now = self._clock()
        self._first = self._first or (done, share)
        if not self._shown or now - self._last < _EVERY_S:
            return
        self._last = now
        text = progress_text(done - self._first[0], share - self._first[1], done, share, now - self._began)
        self._write(self._what + text)

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text:<{self._width}}")
        self._stream.flush()
        self._width = len(text)

    def end(self) -> None:
        """Clear the line."""
        if self._shown and self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()


def progress_text(rows: int, gained: float, done: int, share: float, seconds: float) -> str:
    """Return the line.

    Args:
        rows, gained: what this run has done itself, in rows and as a share of the source, in `seconds`.
        done, share: what is done altogether.
    """
    text = f"{done} rows ({min(share, 1.0):.0%})"
    if rows > 0 and seconds > 0:
        text += f", {rows / seconds:.0f} rows a second"
    if gained > 0:
        text += f", {_span(max(0.0, 1.0 - share) / gained * seconds)} left"
    return text


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
