"""Things to do later, for one thread that waits for events."""

import heapq
import itertools
from collections.abc import Callable


class Timers:
    """Calls that fall due at a time of a steady clock, in seconds."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self._ticks() + seconds, next(self._order), call))

    def wait_s(self, longest: float) -> float:
        """Return how long nothing is due, at most `longest`."""
        return max(0.0, min(longest, self._heap[0][0] - self._ticks())) if self._heap else longest

    def due(self) -> list[Callable[[], None]]:
        """Take out what is due."""
        calls = []
        while self._heap and self._heap[0][0] <= self._ticks():
            calls.append(heapq.heappop(self._heap)[2])
        return calls
