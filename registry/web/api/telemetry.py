"""Telemetry: the windows that a device has sent."""

from flask import Blueprint

from registry.web.context import context
from registry.web.documents import WindowDocument, window_document
from registry.web.operations import operation, query_int

telemetry = Blueprint("telemetry", __name__, url_prefix="/api/v1/devices")


@telemetry.get("/<device>/telemetry")
@operation(
    "List a device's newest telemetry windows",
    "telemetry",
    reply=list[WindowDocument],
    query={"limit": (int, "how many, 1 to 1000; 100 by default")},
    errors=(404,),
)
def list_windows(device: str) -> list[WindowDocument]:
    """Newest first. Sketches are read into counts, moments and quantiles."""
    catalogue = context().catalogue
    catalogue.devices.get(device)
    limit = query_int("limit", 100, 1, 1000)
    return [window_document(window) for window in catalogue.telemetry.by_device(device, limit)]
