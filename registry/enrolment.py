"""Enrolment, the registry's side: one-time tokens out, certificates and the trust to pin in return."""

from pathlib import Path

from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust, format_token
from registry.catalogue import Catalogue
from registry.identity import Authority
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock


def trust(home: Path, clock: Clock) -> Trust:
    """What a device of this registry pins.

    Raises:
        NotInitialisedError: the home lacks a key or a root.
    """
    return Trust(ImageRepository(home, clock).root, DirectorRepository(home, clock).root, Authority(home, clock).pem)


def create_token(home: Path, catalogue: Catalogue, device: str, site: str, ttl_s: float, clock: Clock) -> str:
    """Return a token that enrols this device once, within `ttl_s` seconds.

    Raises:
        NameRefusedError: device or site cannot be a topic level.
    """
    return format_token(catalogue.enrolments.create(device, site, ttl_s), trust(home, clock).fingerprint)


def enrol(home: Path, catalogue: Catalogue, request: EnrolmentRequest, broker_url: str, clock: Clock) -> EnrolmentReply:
    """Enrol a device: its token is used up if and only if it gets a certificate.

    Raises:
        TokenRefusedError: the token is unknown, used, expired or another device's.
        CertificateRefusedError: the certificate request is for another name, or its key is weak.
        NameRefusedError: device or site cannot be a topic level.
    """
    authority = Authority(home, clock)
    with catalogue.transaction():
        catalogue.enrolments.use(request.secret, request.device, request.site)
        certificate = authority.sign(request)
        catalogue.devices.add(request.device, request.site, request.profile, certificate.pem, certificate.serial)
        catalogue.events.record(
            "enrolled",
            f"{request.device} was enrolled at {request.site} with the profile {request.profile}",
            detail={"device": request.device, "serial": certificate.serial},
        )
    return EnrolmentReply(certificate.pem, trust(home, clock), broker_url)
