"""Which device a request comes from: its signature, made with the key of a certificate that the registry issued."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from flask import request

from protocols.errors import MessageRefusedError
from protocols.signed_request import SIGNATURE_LIFE_S, SignedRequest, read_signed_request
from registry.catalogue import Catalogue
from registry.errors import SignatureRefusedError, UnknownDeviceError
from registry.web.context import context


def signing_device() -> str:
    """Return the device that signed the current request.

    Raises:
        SignatureRefusedError: nobody did, not lately, or nobody who may.
    """
    parts = context()
    headers = request.headers
    try:
        signed, signature = read_signed_request(
            request.method, request.path, headers.get("Signature-Input", ""), headers.get("Signature", "")
        )
    except MessageRefusedError as error:
        raise SignatureRefusedError(error.reason) from error
    if abs(parts.clock() - signed.created) > SIGNATURE_LIFE_S:
        raise SignatureRefusedError("it was signed at another time than the registry's; its Date header says which")
    site, _, device = signed.keyid.partition(".")
    if not any(_verifies(pem, signed, signature) for pem in _certificates(parts.catalogue, site, device)):
        raise SignatureRefusedError("no valid certificate of that device made it")
    return device


def _certificates(catalogue: Catalogue, site: str, device: str) -> list[str]:
    """Return the certificates that a device may use now; none where it is revoked."""
    try:
        known = catalogue.devices.get(device)
    except UnknownDeviceError:
        return []
    if known.site != site or known.revoked_at is not None:
        return []
    now = context().clock()
    issued = catalogue.certificates.of(f"{site}.{device}")
    return [each.pem for each in issued if each.revoked_at is None and each.expires_at > now]


def _verifies(pem: str, signed: SignedRequest, signature: bytes) -> bool:
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), signed.base, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
