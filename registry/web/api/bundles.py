"""Bundles: a device's next installation, or one release, for a USB stick."""

from flask import Blueprint

from protocols.names import ReleaseRef
from registry.bundles import FEWEST_DAYS, MOST_DAYS, BundlePlan, plan_for_device, plan_for_release
from registry.errors import RequestRefusedError
from registry.web.context import context
from registry.web.documents import BundleBody
from registry.web.operations import operation

bundles = Blueprint("bundles", __name__, url_prefix="/api/v1/bundles")


@bundles.post("")
@operation("Sign a bundle", "bundles", body=BundleBody, reply=BundlePlan, errors=(404, 422))
def post_bundle(body: BundleBody) -> BundlePlan:
    """For a device: all that is assigned to it. For a release: its files, and the image repository's word on them.

    `contents` are the signed files, base64; the other names of `bundle.files` are the releases' own files, as
    GET /models/{model}/releases/{version}/files/{file} gives them.
    """
    parts = context()
    if not FEWEST_DAYS <= body.valid_days <= MOST_DAYS:
        raise RequestRefusedError("valid_days", f"{body.valid_days} is not from {FEWEST_DAYS} to {MOST_DAYS}")
    if (body.device is None) == (body.release is None):
        raise RequestRefusedError("device", "name a device, or else a release")
    if body.device is not None:
        return plan_for_device(parts.home, parts.catalogue, body.device, parts.clock, body.valid_days)
    ref = ReleaseRef.parse(body.release or "")
    return plan_for_release(parts.home, parts.catalogue, ref, parts.clock, body.valid_days)
