"""Ingest: bytes on a device's topic become rows in the catalogue, or a counted refusal."""

import logging
import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from protocols.errors import GenbaError, MessageRefusedError, UnknownVersionError
from protocols.measuring import MEASURED_EVENT, read_measured
from protocols.messages import UP, BlockRequest, Event, Number, Status, Telemetry, decode
from protocols.names import ReleaseRef, check_name
from protocols.renewal import RenewalReply, RenewalRequest
from protocols.topics import parse_up
from registry.catalogue import Catalogue
from registry.errors import CallerError, DeviceError
from registry.logs import Seldom
from registry.measuring import take_answer
from registry.renewal import renew

log = logging.getLogger(__name__)

_LARGEST = 2**63 - 1

Message = Status | Event | Telemetry | BlockRequest | RenewalRequest


@dataclass(frozen=True, slots=True)
class Stored:
    """A message is safe, or was refused for good: either way the device may forget those of `ids`.

    `release` is set where a new telemetry window has come in.
    """

    site: str
    device: str
    ids: tuple[int, ...] = ()
    release: ReleaseRef | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A device asks for blocks."""

    site: str
    device: str
    request: BlockRequest


@dataclass(frozen=True, slots=True)
class Renewed:
    """A device asked for its next certificate, and is to be told this."""

    site: str
    device: str
    reply: RenewalReply


class _Numbered(msgspec.Struct):
    id: Number


_numbered = msgspec.msgpack.Decoder(_Numbered)


class Ingest:
    """Takes messages of all devices. `refused` counts what was not taken, by reason.

    Not thread-safe: one thread, whose catalogue connection it uses.
    """

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._known: set[str] = set()
        self._seldom = Seldom(clock)
        self.refused: Counter[str] = Counter()

    def take(self, topic: str, payload: bytes) -> Stored | Asked | Renewed | None:
        """Store one message; None where there is nothing to answer.

        Raises:
            sqlite3.OperationalError: the catalogue cannot be written now; the same message may be taken later.
        """
        parsed = parse_up(topic)
        if parsed is None:
            self._refuse("unknown-topic", "", topic)
            return None
        site, device, channel = parsed
        if not self._belongs(site, device):
            return None
        if not payload and channel == "status":
            return None  # a retained status was cleared
        try:
            message: Message = decode(UP[channel], payload)  # type: ignore[type-var]
            return self._store(site, device, message)
        except UnknownVersionError as error:
            # Not acknowledged: the device keeps it until this registry is updated.
            self._refuse("newer-version", device, str(error))
            return None
        except MessageRefusedError as error:
            self._refuse("malformed", device, str(error))
            return _forget(site, device, payload)
        except (GenbaError, OverflowError, TypeError, ValueError, sqlite3.IntegrityError) as error:
            self._refuse("impossible", device, str(error))
            return _forget(site, device, payload)

    def unreadable(self, topic: bytes) -> None:
        """Count a message whose topic is no UTF-8."""
        self._refuse("unreadable-topic", "", repr(topic[:200]))

    def _store(self, site: str, device: str, message: Message) -> Stored | Asked | Renewed:
        if isinstance(message, BlockRequest):
            return Asked(site, device, message)
        if isinstance(message, RenewalRequest):
            return Renewed(site, device, self._renew(device, message))
        if isinstance(message, Status):
            self._catalogue.devices.update_status(device, message)
            if message.online and self._catalogue.devices.heard_of(device, message.instance, message.at):
                self._report_clone(site, device, message)
            return Stored(site, device)
        if not 0 <= message.id <= _LARGEST:
            raise MessageRefusedError(type(message).__name__, f"id {message.id} is out of range")
        if isinstance(message, Event):
            self._take_event(device, message)
            return Stored(site, device, (message.id,))
        _check_window(message)
        standing = self._catalogue.devices.standing(device)
        if standing is not None and standing.cloned and self._catalogue.telemetry.counted(device, message):
            self._refuse("cloned", device, f"device {device!r}: another agent of its name has told of the same time")
            return Stored(site, device, (message.id,))
        new = self._catalogue.telemetry.add(device, site, message)
        return Stored(site, device, (message.id,), ReleaseRef(message.model, message.version) if new else None)

    def _take_event(self, device: str, event: Event) -> None:
        measured = read_measured(event.detail) if event.kind == MEASURED_EVENT else None
        with self._catalogue.transaction():
            self._catalogue.events.add(device, event)
            if measured is not None:
                take_answer(self._catalogue, device, measured)

    def _report_clone(self, site: str, device: str, status: Status) -> None:
        text = (
            f"two agents use the identity of {device}: its key was copied; `genba registry revoke {device}` locks both "
            f"out, `genba registry token --device {device} --site {site} --replace` brings the right one back"
        )
        log.error(text)
        detail = {"device": device, "instance": status.instance}
        self._catalogue.events.record("identity-cloned", text, level="error", detail=detail)

    def _renew(self, device: str, request: RenewalRequest) -> RenewalReply:
        try:
            return RenewalReply(renew(self._catalogue.home, self._catalogue, device, request, self._clock))
        except (DeviceError, CallerError) as error:
            self._refuse("renewal", device, str(error))
            return RenewalReply(reason=str(error))

    def _belongs(self, site: str, device: str) -> bool:
        """Ask the catalogue each time: from a device that was locked out nothing is taken, from then on."""
        standing = self._catalogue.devices.standing(device)
        if standing is None:
            self._known.discard(device)
            self._refuse("unknown-device", device, f"device {device!r} is not enrolled; {site=}")
            return False
        self._known.add(device)
        if standing.site != site:
            text = f"device {device!r} is enrolled at {standing.site!r}, not at {site!r}"
            self._refuse("site-mismatch", device, text)
            return False
        if standing.revoked:
            self._refuse("revoked", device, f"device {device!r} is revoked")
            return False
        return True

    def _refuse(self, reason: str, device: str, text: str) -> None:
        self.refused[reason] += 1
        if self._seldom.due(f"{reason} {device}" if device in self._known else reason):
            log.warning("message refused: %s", text, extra={"reason": reason, "refused": self.refused[reason]})


def _check_window(window: Telemetry) -> None:
    check_name("model", window.model)
    if not (math.isfinite(window.start) and math.isfinite(window.end) and window.start <= window.end):
        raise MessageRefusedError("Telemetry", f"start {window.start} and end {window.end} are no interval")
    if not 1 <= window.version <= _LARGEST or window.predictions < 0:
        raise MessageRefusedError("Telemetry", f"version {window.version}, predictions {window.predictions}")


def _forget(site: str, device: str, payload: bytes) -> Stored | None:
    """What can never be stored is acknowledged all the same, or the device would send it for ever."""
    try:
        return Stored(site, device, (_numbered.decode(payload).id,))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
