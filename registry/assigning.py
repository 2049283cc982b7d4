"""Assigning: what a device should run is checked, numbered and signed by the director."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from protocols.assignment import AssignedRelease, Assignment, check_assignment
from protocols.feeding import Image
from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from protocols.payloads import quote_name
from protocols.resources import target_path
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.catalogue.releases import Release
from registry.errors import AssignmentRefusedError, LockedOutError
from registry.selector import Facts, choose
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock

#: A refusal names at most so many of a model's inputs.
_NAMED_INPUTS = 12


def assign(
    home: Path, catalogue: Catalogue, assignment: Assignment, clock: Clock, *, assigned_by: str = "registry"
) -> Assignment:
    """Make this the device's assignment, and return it with its revision.

    It is signed before it is committed, so that a device which hears of a revision finds it. Where every device that
    runs a model is then assigned the same release, that release is the model's champion.

    Raises:
        UnknownDeviceError, UnknownReleaseError: the text lists those there are.
        LockedOutError: the device was revoked; it can only be assigned nothing.
        AssignmentRefusedError: a release is not for this device's profile, or a stream names an input it has not.
        MessageRefusedError, PathRefusedError: the assignment contradicts itself.
    """
    check_assignment(assignment)
    device = catalogue.devices.get(assignment.device)
    if assignment.releases:
        check_admitted(device)
    releases = [catalogue.releases.get(assigned.ref) for assigned in assignment.releases]
    for release in releases:
        _check_fit(device, release)
    _check_inputs(assignment, releases)
    _check_signed(ImageRepository(home, clock), releases)
    director = DirectorRepository(home, clock)
    with catalogue.transaction():
        revised = catalogue.assignments.set(assignment)
        _note(catalogue, revised, assigned_by)
        for release in releases:
            _follow(catalogue, release.ref)
        director.direct(revised, _targets(releases), device.profile)
    return revised


def swap(
    home: Path,
    catalogue: Catalogue,
    ref: ReleaseRef,
    devices: str | Sequence[str],
    clock: Clock,
    *,
    assigned_by: str = "registry",
) -> list[Assignment]:
    """Put a release in the place of the same model's release on several devices; their streams stay.

    A release that a device has refused is thereby asked for once more.

    Args:
        devices: names, or a selector (see `select`). A selector passes over devices that do not run the model.

    Raises:
        UnknownDeviceError, NoDeviceSelectedError, UnknownReleaseError: the text lists those there are.
        LockedOutError: a named device was revoked.
        AssignmentRefusedError: a named device, or every selected one, runs no stream of the model.
    """
    release = catalogue.releases.get(ref)
    wanted: list[Assignment] = []
    for device in select(catalogue, devices):
        check_admitted(device)
        assignment = catalogue.assignments.get(device.name)
        if assignment is None or all(held.model != ref.model for held in assignment.releases):
            if not isinstance(devices, str) or devices == device.name:
                raise AssignmentRefusedError(_no_stream(release, f"device {device.name!r} runs no", device.name))
            continue
        wanted.append(_swapped(assignment, ref, device))
    if not wanted:
        selector = devices if isinstance(devices, str) else ",".join(devices)
        raise AssignmentRefusedError(_no_stream(release, f"no device of {selector!r} runs a", selector))
    return [assign(home, catalogue, assignment, clock, assigned_by=assigned_by) for assignment in wanted]


def check_admitted(device: Device) -> None:
    """Refuse what is for a device that was revoked.

    Raises:
        LockedOutError: the text says since when, and the way back.
    """
    if device.revoked_at is not None:
        raise LockedOutError(device.name, device.site, device.revoked_at)


def select(catalogue: Catalogue, devices: str | Sequence[str]) -> list[Device]:
    """Return the devices of these names, or those that a selector means; raises as `registry.selector.choose`."""
    if not isinstance(devices, str):
        return [catalogue.devices.get(name) for name in dict.fromkeys(devices)]
    return choose(catalogue.devices.list(), devices, _facts)


def _facts(device: Device) -> Facts:
    return Facts(device.name, device.site, device.profile, device.revoked_at is not None)


def _no_stream(release: Release, who: str, devices: str) -> str:
    """A whole command to copy: with this model's own inputs, so that only topics and paths are left to adapt."""
    names = release.manifest.bound_inputs
    path = f"{names[0]}={quote_name(names[0])}"
    if isinstance(release.manifest.feeding, Image):
        return (
            f"{who} stream of model {release.model!r} yet; say where its images are and where predictions go: "
            f"`genba assign {release.ref} {shlex.quote(devices)} --topic 'plant/{{device}}/camera' "
            f"--output-topic 'plant/{{device}}/predictions'` (each message is a JPEG or PNG file; with --input "
            f"{shlex.quote(path)}, a JSON object that holds one as base64)"
        )
    more = f" and {len(names) - _NAMED_INPUTS} more" if len(names) > _NAMED_INPUTS else ""
    return (
        f"{who} stream of model {release.model!r} yet; say where its sensors are and where predictions go: "
        f"`genba assign {release.ref} {shlex.quote(devices)} --topic 'plant/{{device}}/sensors' "
        f"--output-topic 'plant/{{device}}/predictions' --input {shlex.quote(path)}` (each sensor message is a JSON "
        f"object; its keys {', '.join(map(repr, names[:_NAMED_INPUTS]))}{more} are read, and --input names another "
        "place for one of them)"
    )


def _swapped(assignment: Assignment, ref: ReleaseRef, device: Device) -> Assignment:
    releases = tuple(_replaced(held, ref, device) if held.model == ref.model else held for held in assignment.releases)
    return msgspec.structs.replace(assignment, releases=releases)


def _replaced(held: AssignedRelease, ref: ReleaseRef, device: Device) -> AssignedRelease:
    attempt = 1
    if held.version == ref.version:
        attempt = held.attempt + 1 if _refused(device, ref) else held.attempt
    return AssignedRelease(ref.model, ref.version, attempt, held.allow_fallback)


def _refused(device: Device, ref: ReleaseRef) -> bool:
    held = device.status.releases if device.status else ()
    return any(
        (one.model, one.version) == (ref.model, ref.version) and one.state in ("refused", "rolled-back") for one in held
    )


def _check_fit(device: Device, release: Release) -> None:
    profiles = release.manifest.profiles
    if profiles and device.profile not in profiles:
        raise AssignmentRefusedError(
            f"release {release.ref} is for the profiles {', '.join(profiles)}, and device {device.name!r} "
            f"is of profile {device.profile!r}; train one for that profile"
        )


def _check_inputs(assignment: Assignment, releases: Sequence[Release]) -> None:
    known = {release.model: release.manifest.bound_inputs for release in releases}
    for stream in assignment.streams:
        unknown = [name for name in stream.inputs if name not in known[stream.model]]
        if unknown:
            raise AssignmentRefusedError(
                f"stream {stream.name!r}: inputs names {unknown[0]!r}, and model {stream.model!r} "
                f"has the inputs {', '.join(known[stream.model])}"
            )


def _check_signed(image: ImageRepository, releases: Sequence[Release]) -> None:
    for release in releases:
        waiting = image.waits(release.ref)
        if waiting is not None:
            raise AssignmentRefusedError(
                f"release {release.ref} waits for its release keys: {waiting.have} of {waiting.need} signatures; "
                "`genba registry keys export` writes what is to be signed"
            )


def _targets(releases: Sequence[Release]) -> dict[str, FileInfo]:
    return {target_path(release.ref, name): info for release in releases for name, info in release.files.items()}


def _note(catalogue: Catalogue, assignment: Assignment, assigned_by: str) -> None:
    what = ", ".join(str(release.ref) for release in assignment.releases) or "nothing"
    only = assignment.releases[0] if len(assignment.releases) == 1 else None
    catalogue.events.record(
        "assigned",
        f"{assignment.device} is assigned {what} (revision {assignment.revision})",
        model=only.model if only else None,
        version=only.version if only else None,
        detail={"by": assigned_by, "device": assignment.device, "revision": assignment.revision},
    )


def _follow(catalogue: Catalogue, ref: ReleaseRef) -> None:
    """The release that every device of the model is to run is what a challenger has to beat."""
    running = catalogue.assignments.running(ref.model)
    versions = {held.version for found in running for held in found.releases if held.model == ref.model}
    if versions == {ref.version}:
        catalogue.models.set_champion(ref)
