"""Access: what each who holds a certificate may do at the broker, and nothing more. Pure rules, for any broker."""

from collections.abc import Iterable
from dataclasses import dataclass

from protocols.assignment import Assignment
from protocols.enrolment import identity_name
from protocols.topics import ALL_DOWN, ALL_UP, DeviceTopics
from registry.catalogue.devices import Device
from registry.identity import SERVICE


@dataclass(frozen=True, slots=True)
class Access:
    """What one client may read and write: MQTT topic filters. `user` is the common name of its certificate."""

    user: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def service_access() -> Access:
    """The registry's own MQTT service: hears what devices say, and speaks to them."""
    return Access(SERVICE, (ALL_UP,), (ALL_DOWN,))


def device_access(device: Device, assignment: Assignment | None) -> Access | None:
    """Return what a device may: its own channels, and the topics of the streams that it is assigned. None: nothing."""
    if device.revoked_at is not None:
        return None
    topics = DeviceTopics(device.site, device.name)
    streams = assignment.streams if assignment else ()
    return Access(
        identity_name(device.site, device.name),
        (topics.all_down, *_once(stream.topic for stream in streams)),
        (topics.all_up, *_once(stream.output_topic for stream in streams)),
    )


def _once(topics: Iterable[str]) -> list[str]:
    return sorted(set(topics))
