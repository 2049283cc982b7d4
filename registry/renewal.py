"""Renewal, the registry's side: a device that proves its present key gets a certificate for its next one."""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from protocols.enrolment import identity_name
from protocols.renewal import RenewalRequest, signed_part
from registry.catalogue import Catalogue
from registry.catalogue.certificates import Issued
from registry.certificates import requested_key
from registry.errors import RenewalRefusedError
from registry.identity import Authority
from registry.settings import read_settings
from registry.signing.metadata import Clock

#: Certificates of one device that are good at the same time; more are a device that has lost its senses.
MOST_AT_ONCE = 8
_DAY_S = 86_400.0


def renew(home: Path, catalogue: Catalogue, device: str, request: RenewalRequest, clock: Clock) -> str:
    """Return the device's next certificate, PEM. The present one stays good until its end: the reply may get lost.

    Raises:
        UnknownDeviceError: no such device.
        RenewalRefusedError: it is locked out, its identity is used twice, or it does not prove its present key.
        CertificateRefusedError: the certificate request is for another name, or its key is weak.
    """
    found, settings = catalogue.devices.get(device), read_settings(home)
    if found.revoked_at is not None:
        raise RenewalRefusedError(device, "it is locked out")
    if found.cloned_at is not None:
        raise RenewalRefusedError(device, "its identity is used twice")
    holder = identity_name(found.site, device)
    with catalogue.transaction():
        held = catalogue.certificates.of(holder)
        present = _present(device, held, request, clock() - settings.renewal_grace_s)
        _check_proof(device, present, signed_part(found.site, device, request), request.signature)
        key = requested_key(request.csr, holder)
        # A request that comes again, after others too, brings nothing new: it has no time in it.
        good = [one for one in held if one.expires_at > clock() and one.revoked_at is None]
        for one in good:
            if one.serial != present.serial and _certificate(one).public_key() == key:
                return one.pem
        if len(good) >= MOST_AT_ONCE:
            raise RenewalRefusedError(device, f"it has {MOST_AT_ONCE} good certificates already")
        made = Authority(home, clock).sign(found.site, device, request.csr, settings.certificate_life_s)
        catalogue.certificates.add(holder, made.serial, made.pem, made.expires_at)
        catalogue.devices.renewed(device, made.pem, made.serial)
        catalogue.events.record(
            "identity-renewed",
            f"{device} has renewed its certificate; the new one is {made.serial}",
            detail={"device": device, "serial": made.serial, "replaced_serial": present.serial},
        )
    return made.pem


def _present(device: str, held: list[Issued], request: RenewalRequest, oldest: float) -> Issued:
    for one in held:
        if one.serial == request.serial:
            if one.revoked_at is not None:
                raise RenewalRefusedError(device, "its certificate is revoked")
            if one.expires_at < oldest:
                days = (oldest - one.expires_at) / _DAY_S
                raise RenewalRefusedError(device, f"its certificate ended {days:.0f} days too long ago")
            return one
    raise RenewalRefusedError(device, "this registry never made its certificate")


def _check_proof(device: str, present: Issued, data: bytes, signature: bytes) -> None:
    key = _certificate(present).public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise InvalidSignature
    except InvalidSignature as error:
        raise RenewalRefusedError(device, "the request is not signed by the key of its certificate") from error


def _certificate(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.pem.encode())
