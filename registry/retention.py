"""Retention: telemetry windows and events are kept for as long as the operator says, then forgotten."""

from typing import NamedTuple

from registry.catalogue import Catalogue
from registry.settings import Settings

DAY_S = 86_400.0
#: How often it is looked, in seconds.
EVERY_S = 3600.0


class Forgotten(NamedTuple):
    """How many rows were deleted."""

    windows: int
    events: int


def forget(catalogue: Catalogue, settings: Settings, now: float) -> Forgotten:
    """Delete what is older than the settings say; 0 days keep for ever."""
    windows = events = 0
    if settings.keep_telemetry_days:
        windows = catalogue.telemetry.forget(now - settings.keep_telemetry_days * DAY_S)
    if settings.keep_events_days:
        events = catalogue.events.forget(now - settings.keep_events_days * DAY_S)
        catalogue.measurements.forget(now - settings.keep_events_days * DAY_S)
    return Forgotten(windows, events)
