"""The service: what the link brings goes into the catalogue, what the catalogue holds goes out by the link.

Threads: the link's own, one that stores, two that serve blocks, and the caller's for nudges and monitoring. What
cannot be stored now is tried again, what can never be stored is refused: neither stops the service.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt

from protocols.broker import BrokerAddress
from protocols.messages import Ack, encode
from protocols.names import ReleaseRef
from protocols.topics import DeviceTopics
from registry import retention
from registry.catalogue import Catalogue
from registry.delivery import Source
from registry.measuring import Upkeep
from registry.mosquitto.keeper import BrokerKeeper
from registry.mqtt.blocks import BlockServer
from registry.mqtt.ingest import Asked, Ingest, Renewed, Stored
from registry.mqtt.link import Link
from registry.mqtt.monitor import Monitor
from registry.mqtt.nudges import Nudges
from registry.mqtt.state import ServiceState, write_state
from registry.settings import read_settings
from registry.signing.ceremony import trust_state

log = logging.getLogger(__name__)

POLL_S = 0.25
#: Messages between the link and the catalogue. Beyond it the link waits, and so does the broker.
_INBOX = 2000
#: Messages that are acknowledged to their devices together.
_BATCH = 64
_STATE_EVERY_S = 2.0


class Service:
    """One registry's MQTT service.

    Args:
        home: the registry's home; must be initialised.
    """

    def __init__(self, home: Path, address: BrokerAddress, clock: Callable[[], float] = time.time) -> None:
        self._home, self._address, self._clock = home, address, clock
        self._settings = read_settings(home)
        self._next_retention = 0.0
        self._catalogue = Catalogue.open(home, clock)
        self._inbox: queue.Queue[mqtt.MQTTMessage | None] = queue.Queue(_INBOX)
        self._link = Link(home, address, self._inbox.put)
        self._ingest = Ingest(self._catalogue, clock)
        self._blocks = BlockServer(Source(home, clock).open, self._link.send_block)
        self._nudges = Nudges(self._catalogue, self._link.publish)
        self._keeper = BrokerKeeper(home, self._catalogue, clock)
        self._monitor = Monitor(self._catalogue, clock)
        self._measuring = Upkeep(home, self._catalogue, clock)
        self._windows: set[ReleaseRef] = set()
        #: The newest window that was judged: asked of the catalogue, because windows come in by sticks too.
        self._last_window, _ = self._catalogue.telemetry.releases_after(0)
        self._stop = threading.Event()
        self._session = 0

    def stop(self) -> None:
        """Make `run` return soon. Safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`."""
        for model in self._catalogue.models.list():
            if model.champion is not None:
                self._windows.add(ReleaseRef(model.name, model.champion))
        storing = threading.Thread(target=self._store, name="store", daemon=True)
        storing.start()
        self._blocks.start()
        self._link.start()
        try:
            self._keep_house()
        finally:
            self._blocks.stop()
            self._link.stop()
            self._inbox.put(None)
            storing.join(2)
            self._write_state(connected=False)

    # The caller's thread

    def _keep_house(self) -> None:
        next_state, known = 0.0, None
        while not self._stop.wait(POLL_S):
            up = self._link.up
            if known != up or time.monotonic() >= next_state:
                known, next_state = up, time.monotonic() + _STATE_EVERY_S
                self._write_state(connected=up)
            try:
                self._tell_and_judge()
                self._forget()
                self._measuring.keep()
            except Exception:  # a fault in one round must not end the service
                log.exception("a round of nudges and monitoring failed")
                self._stop.wait(1.0)

    def _tell_and_judge(self) -> None:
        self._keeper.keep()  # before the nudges: a device may use its topics once it hears of them
        if self._link.up:
            if self._session != self._link.sessions:
                self._session = self._link.sessions
                self._nudges.forget()
            self._nudges.poll()
        self._last_window, new = self._catalogue.telemetry.releases_after(self._last_window)
        releases, self._windows = self._windows | new, set()
        for release in sorted(releases):
            self._monitor.look(release)

    def _forget(self) -> None:
        """At the start and every hour, let go of what is too old, and say which keys need a person."""
        if time.monotonic() < self._next_retention:
            return
        self._next_retention = time.monotonic() + retention.EVERY_S
        forgotten = retention.forget(self._catalogue, self._settings, self._clock())
        if any(forgotten):
            log.info("what is too old was forgotten", extra=forgotten._asdict())
        for line in trust_state(self._home, self._clock).warnings:
            log.warning("signing keys: %s", line)

    def _write_state(self, *, connected: bool) -> None:
        try:
            write_state(self._home, ServiceState(connected, self._address.url, dict(self._ingest.refused)))
        except OSError as error:
            log.warning("the state file cannot be written: %s", error)

    # The thread that stores

    def _store(self) -> None:
        while True:
            batch = [self._inbox.get()]
            while len(batch) < _BATCH and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            found = [self._take(message) for message in batch if message is not None]
            self._acknowledge([one for one in found if one is not None])
            if None in batch:
                return

    def _take(self, message: mqtt.MQTTMessage) -> Stored | None:
        """Store one message, however long the catalogue takes to be writable; then the broker may forget it."""
        try:
            topic = message.topic  # decoded now: paho passes on whatever bytes the broker sent
        except UnicodeDecodeError as error:
            self._ingest.unreadable(error.object)
            self._link.acknowledge(message)
            return None
        found: Stored | Asked | Renewed | None = None
        for delay_s in _delays():
            try:
                found = self._ingest.take(topic, bytes(message.payload))
                break
            except sqlite3.OperationalError as error:
                log.error("the catalogue cannot be written, trying again: %s", error)
                if self._stop.wait(delay_s):
                    return None  # not acknowledged: the broker brings it again
            except Exception:  # one message must not end the service
                log.exception("a message could not be taken", extra={"topic": topic})
                self._ingest.refused["fault"] += 1
                break
        self._link.acknowledge(message)
        if isinstance(found, Asked):
            self._blocks.submit(found.site, found.device, found.request)
            return None
        if isinstance(found, Renewed):
            self._link.publish(DeviceTopics(found.site, found.device).down("renewal"), encode(found.reply))
            return None
        return found

    def _acknowledge(self, stored: list[Stored]) -> None:
        ids: dict[tuple[str, str], list[int]] = {}
        for one in stored:
            if one.ids:
                ids.setdefault((one.site, one.device), []).extend(one.ids)
        for (site, device), numbers in ids.items():
            self._link.publish(DeviceTopics(site, device).down("ack"), encode(Ack(tuple(numbers))))


def _delays() -> Iterator[float]:
    delay_s = 0.2
    while True:
        yield delay_s
        delay_s = min(5.0, delay_s * 2)
