"""Revocation: a device is locked out at once in the registry, and at the broker as soon as its lists are renewed."""

from pathlib import Path

import msgspec

from protocols.assignment import Assignment
from protocols.enrolment import identity_name
from registry.assigning import assign
from registry.catalogue import Catalogue
from registry.errors import UnknownDeviceError
from registry.signing.metadata import Clock


class Revoked(msgspec.Struct, frozen=True):
    """What was locked out: its name in certificates, since when, and how many certificates became void now."""

    holder: str
    revoked_at: float
    certificates: int


def revoke(home: Path, catalogue: Catalogue, name: str, clock: Clock, *, revoked_by: str = "registry") -> Revoked:
    """Lock out a device, or a system of the plant that holds a certificate.

    From here on the registry takes no message of the device and answers none; it is directed to run nothing. What
    it has been sent before stays. Enrolling it anew is the only way back.

    Raises:
        UnknownDeviceError: nobody of that name holds a certificate; the text lists the devices.
    """
    known = catalogue.devices.names()
    if name in known:
        return _revoke_device(home, catalogue, name, clock, revoked_by)
    if not catalogue.certificates.of(name):
        raise UnknownDeviceError(name, known)
    with catalogue.transaction():
        count = catalogue.certificates.revoke(name)
        _record(catalogue, name, None, revoked_by)
    return Revoked(name, clock(), count)


def _revoke_device(home: Path, catalogue: Catalogue, device: str, clock: Clock, revoked_by: str) -> Revoked:
    holder = identity_name(catalogue.devices.get(device).site, device)
    with catalogue.transaction():
        catalogue.devices.revoke(device)
        count = catalogue.certificates.revoke(holder)
        if count:
            _record(catalogue, device, device, revoked_by)
    # Only now, because signing may fail for reasons of its own, and the device is locked out all the same.
    if catalogue.assignments.get(device) is not None:
        assign(home, catalogue, Assignment(device, 0), clock, assigned_by=revoked_by)
    return Revoked(holder, catalogue.devices.get(device).revoked_at or clock(), count)


def _record(catalogue: Catalogue, name: str, device: str | None, revoked_by: str) -> None:
    detail = {"by": revoked_by, **({"device": device} if device else {})}
    catalogue.events.record(
        "revoked", f"{name} is locked out: its certificates are void", level="warning", detail=detail
    )
