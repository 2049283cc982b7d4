"""Renewal: how a device gets its next certificate before the present one ends, or after it did while it was away.

The same two messages travel over MQTT (up/renewal, down/renewal) and, where the broker takes the device no more, over
HTTPS as JSON (POST /api/v1/devices/<device>/renewal). A request proves both keys: the new one signs the certificate
request, the present one signs that request.
"""

import msgspec

from protocols.names import check_name


class RenewalRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """up/renewal: give me a certificate for a new key. `serial` names the present certificate, hex.

    `csr` is PEM, its common name `<site>.<device>`; `signature` is the present key's, over `signed_part` (ECDSA or RSA
    PKCS #1 v1.5 with SHA-256, or Ed25519). A request that is repeated gets the same certificate again.
    """

    serial: str
    csr: str
    signature: bytes
    v: int = 1


class RenewalReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """down/renewal: the next certificate (PEM), or, for a person, why there is none."""

    certificate: str = ""
    reason: str | None = None
    v: int = 1


def signed_part(site: str, device: str, request: RenewalRequest) -> bytes:
    """Return what the present key signs: it is good for nothing else, and for nobody else."""
    names = f"{check_name('site', site)}.{check_name('device', device)}"
    return b"\n".join([b"genba renewal 1", names.encode(), request.serial.encode(), request.csr.encode()])


def due_at(begin: float, end: float) -> float:
    """Return when a certificate that is good from `begin` to `end` is to be renewed: at two thirds."""
    return begin + (end - begin) * 2 / 3
