"""Enrolment, the registry's side: one-time tokens out, certificates and the trust to pin in return."""

from pathlib import Path

from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust, format_token, identity_name
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.identity import Authority
from registry.settings import read_settings
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock


def trust(home: Path, clock: Clock) -> Trust:
    """What a device of this registry pins.

    Raises:
        NotInitialisedError: the home lacks a key or a root.
    """
    return Trust(ImageRepository(home, clock).root, DirectorRepository(home, clock).root, Authority(home, clock).pem)


def create_token(
    home: Path, catalogue: Catalogue, device: str, site: str, ttl_s: float, clock: Clock, *, replace: bool = False
) -> str:
    """Return a token that enrols this device once, within `ttl_s` seconds.

    Args:
        replace: the name may be enrolled already; whoever uses the token then takes its place.

    Raises:
        NameRefusedError: device or site cannot be a topic level, or both are too long for a certificate.
        DeviceEnrolledError: the name is enrolled, and nobody asked for it to be replaced.
    """
    identity_name(site, device)
    secret = catalogue.enrolments.create(device, site, ttl_s, replace=replace)
    return format_token(secret, trust(home, clock).fingerprint)


def enrol(home: Path, catalogue: Catalogue, request: EnrolmentRequest, broker_url: str, clock: Clock) -> EnrolmentReply:
    """Enrol a device: its token is used up if and only if it gets a certificate.

    Raises:
        TokenRefusedError: the token is unknown, used, expired or another device's.
        DeviceEnrolledError: the name was enrolled since the token was made, which does not say to replace it.
        CertificateRefusedError: the certificate request is for another name, or its key is weak.
        NameRefusedError: device or site cannot be a topic level.
    """
    holder = identity_name(request.site, request.device)
    life_s = read_settings(home).certificate_life_s
    with catalogue.transaction():
        catalogue.enrolments.use(request.secret, request.device, request.site)
        certificate = Authority(home, clock).sign(request.site, request.device, request.csr, life_s)
        before = catalogue.devices.find(request.device)
        if before is not None:  # perhaps because its key was stolen: its old certificates are void
            catalogue.certificates.revoke(identity_name(before.site, before.name))
        catalogue.certificates.add(holder, certificate.serial, certificate.pem, certificate.expires_at)
        catalogue.devices.add(request.device, request.site, request.profile, certificate.pem, certificate.serial)
        _note(catalogue, request, certificate.serial, before)
    return EnrolmentReply(certificate.pem, trust(home, clock), broker_url)


def _note(catalogue: Catalogue, request: EnrolmentRequest, serial: str, before: Device | None) -> None:
    detail = {"device": request.device, "serial": serial}
    if before is None:
        text = f"{request.device} was enrolled at {request.site} with the profile {request.profile}"
        catalogue.events.record("enrolled", text, detail=detail)
        return
    catalogue.events.record(
        "identity-replaced",
        f"{request.device} was enrolled anew at {request.site} with the profile {request.profile}: its certificate "
        f"{serial} takes the place of {before.serial}; stop the agent that still holds that one",
        level="warning",
        detail={**detail, "replaced_serial": before.serial},
    )
