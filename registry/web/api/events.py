"""Events: what happened on devices, and what was changed in the registry and by whom."""

from flask import Blueprint, request

from registry.catalogue.events import StoredEvent
from registry.web.context import context
from registry.web.operations import operation, query_int

events = Blueprint("events", __name__, url_prefix="/api/v1/events")


@events.get("")
@operation(
    "List the newest events",
    "events",
    reply=list[StoredEvent],
    query={
        "device": (str, "of this device alone"),
        "model": (str, "of this model alone"),
        "limit": (int, "how many, 1 to 1000; 100 by default"),
    },
)
def list_events() -> list[StoredEvent]:
    """Newest first. An event without a device is the registry's own."""
    return context().catalogue.events.list(
        request.args.get("device"), request.args.get("model"), query_int("limit", 100, 1, 1000)
    )
