"""Enrolment: how a new device gets its identity with a one-time token.

The token carries a fingerprint of the trust it leads to, so the device knows that it speaks with the registry
that its operator meant, before it believes a word.
"""

import hashlib
import re
from typing import Literal

import msgspec

from protocols.errors import MessageRefusedError, NameTooLongError
from protocols.names import check_name

_TOKEN = re.compile(r"genba1-(?P<secret>[A-Za-z0-9_-]{32})-(?P<fingerprint>[0-9a-f]{32})\Z")


class Trust(msgspec.Struct, frozen=True):
    """What a device pins at enrolment: both TUF roots and the registry's certificate authority (PEM)."""

    image_root: bytes
    director_root: bytes
    ca: str

    @property
    def fingerprint(self) -> str:
        """128 bits of SHA-256 over all three, hex."""
        digest = hashlib.sha256()
        for part in (self.image_root, self.director_root, self.ca.encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()[:32]


class EnrolmentRequest(msgspec.Struct, frozen=True):
    """POST /api/v1/enrol, JSON. `csr` is PEM; its common name is `<site>.<device>`; the key never leaves the device."""

    secret: str
    device: str
    site: str
    profile: str
    csr: str
    probe: dict[str, bool | int | float | str | list[str] | None] = {}
    v: Literal[1] = 1


class EnrolmentReply(msgspec.Struct, frozen=True):
    """What the device keeps: its certificate (PEM), the trust to pin, and where the broker is."""

    certificate: str
    trust: Trust
    broker_url: str
    v: Literal[1] = 1


#: The most characters that a certificate's common name may have (RFC 5280, ub-common-name).
_COMMON_NAME_LIMIT = 64


def identity_name(site: str, device: str) -> str:
    """Return what a device is called in its certificate and towards the broker: `<site>.<device>`.

    Raises:
        NameRefusedError: one of them cannot be a topic level.
        NameTooLongError: both together do not fit into a certificate.
    """
    name = f"{check_name('site', site)}.{check_name('device', device)}"
    if len(name) > _COMMON_NAME_LIMIT:
        raise NameTooLongError(name, _COMMON_NAME_LIMIT)
    return name


def format_token(secret: str, fingerprint: str) -> str:
    return f"genba1-{secret}-{fingerprint}"


def parse_token(token: str) -> tuple[str, str]:
    """Return (secret, fingerprint) of an enrolment token.

    Raises:
        MessageRefusedError: it is not one. The text never quotes the token.
    """
    match = _TOKEN.match(token.strip())
    if match is None:
        raise MessageRefusedError("enrolment token", "it must look like genba1-...-...; copy it whole")
    return match["secret"], match["fingerprint"]
