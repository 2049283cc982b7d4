"""Presence: whether a device is there, from what it last said and how long ago that was. A pure rule.

A device that dies is reported by its broker, but not by a broker that went down with it; so word that is old does not
count as online.
"""

from typing import Literal

from protocols.assignment import Assignment
from registry.catalogue.devices import Device

Presence = Literal["online", "silent", "offline", "never"]

#: A device speaks at the end of each window. After so many without a word it counts as silent, ...
SILENT_WINDOWS = 3
#: ... but not within so many seconds: networks have their moments.
PATIENCE_S = 120.0
_WINDOW_S = Assignment("", 0).window_s


def presence(device: Device, assignment: Assignment | None, now: float) -> Presence:
    """Return `online`, `silent` (it said so, and then nothing), `offline` (its end was reported) or `never`."""
    if device.seen_at is None:
        return "never"
    if not device.online:
        return "offline"
    window_s = assignment.window_s if assignment else _WINDOW_S
    return "online" if now - device.seen_at <= max(PATIENCE_S, SILENT_WINDOWS * window_s) else "silent"
