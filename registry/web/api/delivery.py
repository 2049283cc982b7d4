"""Delivery: what devices fetch over HTTP, metadata and the files of releases, each for the device that signs."""

from pathlib import Path

from flask import Blueprint, Response, request, send_file

from protocols.signed_request import DELIVERY_PATH
from registry.delivery import Source
from registry.errors import ResourceGoneError
from registry.web.context import context
from registry.web.device_signature import signing_device
from registry.web.operations import operation

delivery = Blueprint("delivery", __name__, url_prefix=DELIVERY_PATH.rstrip("/"))


@delivery.get("/<path:resource>")
@operation(
    "Fetch a resource as a device",
    "delivery",
    reply_media="application/octet-stream",
    errors=(401, 404, 410),
    needs_token=False,
)
def get_resource(resource: str) -> Response:
    """The request is signed with the device's key (RFC 9421); Range is honoured."""
    parts = context()
    try:
        found = Source(parts.home, parts.clock).open(signing_device(), resource)
    except FileNotFoundError as error:
        raise ResourceGoneError(resource) from error
    if found.key is None:
        response = Response(found.read(0, found.size), mimetype="application/octet-stream")
        response.make_conditional(request.environ, accept_ranges=True, complete_length=found.size)
        return response
    return send_file(Path(found.key).resolve(), mimetype="application/octet-stream", conditional=True, etag=False)
