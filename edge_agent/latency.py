"""What the line's messages wait for on the link, so that downloads can give way to them."""

import time
from collections.abc import Callable
from typing import Protocol

#: A wait that was measured longer ago says nothing of now.
_LIFE_S = 5.0


class Sent(Protocol):
    """A message that was handed over; paho's MQTTMessageInfo is one."""

    mid: int

    def is_published(self) -> bool: ...


class Latency:
    """Times one message at a time, from hand-over to the broker's acknowledgement; costs the others nothing."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._timed: tuple[Sent, float] | None = None
        self._idle_s: float | None = None
        self._last: tuple[float, float] | None = None

    def sent(self, message: Sent) -> None:
        """Take note of a message, if none is timed now."""
        timed = self._timed
        if timed is None or not _on_its_way(timed[0]):
            self._timed = (message, self._ticks()) if _on_its_way(message) else None

    def acknowledged(self, mid: int) -> None:
        """The broker has a message."""
        timed = self._timed
        if timed is not None and timed[0].mid == mid:
            self._timed = None
            now = self._ticks()
            took_s = now - timed[1]
            self._idle_s = took_s if self._idle_s is None else min(self._idle_s, took_s)
            self._last = took_s, now

    def forget(self) -> None:
        """The link is a new one."""
        self._timed = self._idle_s = self._last = None

    def wait_s(self) -> float:
        """Return how long messages wait now, beyond the shortest that was seen on this link."""
        now, longest = self._ticks(), 0.0
        timed, last = self._timed, self._last
        if timed is not None and _on_its_way(timed[0]):
            longest = now - timed[1]
        if last is not None and now - last[1] < _LIFE_S:
            longest = max(longest, last[0])
        return max(0.0, longest - (self._idle_s or 0.0)) if self._idle_s is not None else 0.0


def _on_its_way(message: Sent) -> bool:
    """Whether the broker is to acknowledge a message yet; one that waits for a link is no measure of it."""
    try:
        return not message.is_published()
    except (ValueError, RuntimeError):  # paho's word for what was handed over while there was no link
        return False
