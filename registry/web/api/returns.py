"""Returns: what air-gapped devices recorded, handed in from a stick."""

import msgspec
from flask import Blueprint, request

from protocols.returns import RETURN_LIMIT_BYTES
from registry.returns import take
from registry.web.context import context
from registry.web.documents import ReturnReply
from registry.web.operations import operation

returns = Blueprint("returns", __name__, url_prefix="/api/v1/returns")


@returns.post("")
@operation(
    "Hand in what a device recorded",
    "bundles",
    body_media=("application/vnd.dsse+json",),
    reply=ReturnReply,
    errors=(404, 413, 422),
)
def post_return() -> ReturnReply:
    """A DSSE envelope, signed with the device's key, as `genba bundle collect` wrote it.

    What has come already, by a stick or by MQTT, is not counted again. The receipt, signed by the director, lets the
    device forget what it names.
    """
    parts = context()
    request.max_content_length = RETURN_LIMIT_BYTES
    receipt, signed = take(parts.home, parts.catalogue, request.get_data(), parts.clock)
    return ReturnReply(receipt.device, len(receipt.ids), msgspec.Raw(signed))
