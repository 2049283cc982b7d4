"""What the device tells the registry: events and telemetry through the outbox, the status retained."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import msgspec

from edge_agent.outbox import ALARM, EVENT, TELEMETRY, Outbox
from protocols.messages import Event, Level, Status, Telemetry, encode
from protocols.names import ReleaseRef
from protocols.topics import DeviceTopics, Up

log = logging.getLogger(__name__)

#: Messages that may be on their way to the registry without its acknowledgement.
_ON_THEIR_WAY = 64
_RESEND_S = 30.0
_LEVELS: dict[Level, int] = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_CHANNELS: dict[str, Up] = {"event": "event", "telemetry": "telemetry"}


def _encode_window(window: Callable[[int], Telemetry], instance: str, number: int) -> bytes:
    return encode(msgspec.structs.replace(window(number), instance=instance))


class Publisher(Protocol):
    """The part of the link that reporting needs."""

    @property
    def connected(self) -> bool: ...

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None: ...


class Reporter:
    """Keeps what must arrive in the outbox until the registry acknowledges it. For one thread.

    Args:
        clock: seconds since the epoch. ticks: seconds of a steady clock.
        instance: this agent's own draw; it goes into each window.
    """

    def __init__(
        self,
        outbox: Outbox,
        link: Publisher,
        topics: DeviceTopics,
        *,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        instance: str = "",
    ) -> None:
        self._outbox, self._link, self._topics = outbox, link, topics
        self._clock, self._ticks, self._instance = clock, ticks, instance
        self._sent: dict[int, float] = {}
        self._last_status: Status | None = None

    def event(
        self, kind: str, level: Level, text: str, ref: ReleaseRef | None = None, detail: dict[str, Any] | None = None
    ) -> None:
        """Log something, and store it for the registry."""
        log.log(_LEVELS[level], text, extra={"kind": kind, **({"release": str(ref)} if ref else {})})
        model, version = (ref.model, ref.version) if ref else (None, None)
        at = self._clock()

        def build(number: int) -> bytes:
            return encode(Event(number, at, kind, level, text, model, version, detail or {}))

        self._outbox.add("event", ALARM if level == "error" else EVENT, build)
        self.pump()

    def windows(self, windows: Iterable[Callable[[int], Telemetry]]) -> None:
        """Store telemetry windows for the registry."""
        for window in windows:
            self._outbox.add("telemetry", TELEMETRY, partial(_encode_window, window, self._instance))
        self.pump()

    def pump(self) -> None:
        """Send what waits, and again what was not acknowledged in time."""
        if not self._link.connected:
            return
        now = self._ticks()
        late = [number for number, sent in self._sent.items() if now - sent > _RESEND_S]
        for number in late:
            del self._sent[number]
        for item in self._outbox.waiting(_ON_THEIR_WAY - len(self._sent), beyond=self._sent):
            self._link.publish(self._topics.up(_CHANNELS[item.channel]), item.payload)
            self._sent[item.id] = now

    def acknowledged(self, ids: Iterable[int]) -> None:
        """Forget what the registry has, and send more."""
        numbers = list(ids)
        self._outbox.delete(numbers)
        for number in numbers:
            self._sent.pop(number, None)
        self.pump()

    def link_lost(self) -> None:
        """Take everything that is on its way as not sent."""
        self._sent.clear()
        self._last_status = None

    def status(self, status: Status) -> None:
        """Publish the status, retained, if it says anything new."""
        if status != self._last_status and self._link.connected:
            self._link.publish(self._topics.up("status"), encode(status), retain=True)
            self._last_status = status
