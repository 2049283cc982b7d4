"""A bundle: what a device fetches, as a folder that a USB stick carries. `bundle.json` lists it; TUF proves it.

Beside `bundle.json` lie the resources of `protocols.resources`, each under its own name. Nothing here is trusted:
the list only says early, and in one line, what is missing or was cut short.
"""

from collections.abc import Mapping

import msgspec

from protocols.errors import BundleRefusedError, NameRefusedError
from protocols.names import ReleaseRef, check_name
from protocols.resources import parse_resource

BUNDLE_FILE = "bundle.json"
BUNDLE_VERSION = 1
#: Where the stick carries home what devices recorded, and takes back what the registry acknowledges.
RETURNS_FOLDER = "returns"
#: A list is never larger, and a bundle never has more files.
BUNDLE_LIMIT_BYTES = 4 * 1024 * 1024


class Bundle(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `bundle.json` says.

    Attributes:
        files: resource name -> size in bytes.
        releases: those whose files are all here.
        expires_at: until when its metadata is good for an installation, in seconds since the epoch.
        device: for which device; None where only the image repository's word is here, which installs nothing.
    """

    files: dict[str, int]
    releases: tuple[ReleaseRef, ...]
    made_at: float
    expires_at: float
    device: str | None = None
    v: int = BUNDLE_VERSION


_decoder = msgspec.json.Decoder(Bundle)


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the bundle as `bundle.json`."""
    return msgspec.json.format(msgspec.json.encode(bundle, order="deterministic"), indent=2) + b"\n"


def decode_bundle(data: bytes) -> Bundle:
    """Read `bundle.json`.

    Raises:
        BundleRefusedError: unreadable, of a newer version, or with a name that is no resource's (`../` never is).
    """
    try:
        bundle = _decoder.decode(data)
        for ref in bundle.releases:
            check_name("model", ref.model)
        if bundle.device is not None:
            check_name("device", bundle.device)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NameRefusedError) as error:
        raise BundleRefusedError(BUNDLE_FILE, f"not a bundle's list: {error}") from error
    if bundle.v != BUNDLE_VERSION:
        raise BundleRefusedError(BUNDLE_FILE, f"version {bundle.v}, and this release of Genba reads {BUNDLE_VERSION}")
    _check_files(bundle.files)
    return bundle


def _check_files(files: Mapping[str, int]) -> None:
    for name, size in files.items():
        if parse_resource(name) is None:
            raise BundleRefusedError(BUNDLE_FILE, f"it names {name!r}, which no file of a bundle is called")
        if size < 0:
            raise BundleRefusedError(BUNDLE_FILE, f"{name} cannot be {size} bytes")
