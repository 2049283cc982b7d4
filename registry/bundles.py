"""Bundles: what a USB stick carries to a device that no network reaches, signed so that it lives long enough."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import Metadata

from protocols.bundles import Bundle
from protocols.names import ReleaseRef
from protocols.resources import Repository, metadata_url, target_path, targets_url
from registry.assigning import check_admitted
from registry.catalogue import Catalogue
from registry.errors import AssignmentRefusedError
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock

#: How long a stick's metadata may live, in days. Longer would let an old stick keep a device on an old assignment.
FEWEST_DAYS, USUAL_DAYS, MOST_DAYS = 1, 7, 30


class BundlePlan(msgspec.Struct, frozen=True):
    """A bundle that is to be written: `contents` holds what is signed; the rest are the releases' own files."""

    bundle: Bundle
    contents: dict[str, bytes]


def plan_for_device(home: Path, catalogue: Catalogue, device: str, clock: Clock, days: int) -> BundlePlan:
    """Return a bundle of everything that is assigned to a device.

    Raises:
        UnknownDeviceError: the text lists those there are.
        LockedOutError: it was revoked.
        AssignmentRefusedError: nothing is assigned to it.
    """
    check_admitted(catalogue.devices.get(device))
    assignment = catalogue.assignments.get(device)
    if assignment is None:
        raise AssignmentRefusedError(f"nothing is assigned to device {device!r} yet; `genba assign` does it")
    metadata, targets = DirectorRepository(home, clock).carry(device, timedelta(days=days))
    contents = {
        **_under(metadata_url("director"), metadata),
        **_under(targets_url("director"), targets),
        **_image(home, clock, days),
    }
    return _plan(catalogue, [one.ref for one in assignment.releases], contents, clock, device)


def plan_for_release(home: Path, catalogue: Catalogue, ref: ReleaseRef, clock: Clock, days: int) -> BundlePlan:
    """Return a bundle of one release, to look at or to score with; no device installs it.

    Raises:
        UnknownReleaseError: the text lists those there are.
    """
    catalogue.releases.get(ref)
    return _plan(catalogue, [ref], _image(home, clock, days), clock, None)


def _image(home: Path, clock: Clock, days: int) -> dict[str, bytes]:
    return _under(metadata_url("image"), ImageRepository(home, clock).carry(timedelta(days=days)))


def _under(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {folder + name: data for name, data in files.items()}


def _plan(
    catalogue: Catalogue, refs: Iterable[ReleaseRef], contents: dict[str, bytes], clock: Clock, device: str | None
) -> BundlePlan:
    releases = tuple(refs)
    files = {name: len(data) for name, data in contents.items()}
    for ref in releases:
        for name, info in catalogue.releases.get(ref).files.items():
            files[targets_url("image") + target_path(ref, f"{info.sha256}.{name}")] = info.size_bytes
    return BundlePlan(Bundle(files, releases, clock(), _expiry(contents), device), contents)


def _expiry(contents: Mapping[str, bytes]) -> float:
    """Return when the first of the metadata in force expires; of the roots, only the newest is."""
    repositories: tuple[Repository, ...] = ("image", "director")
    moments = []
    for repository in repositories:
        prefix = metadata_url(repository)
        names = [name.removeprefix(prefix) for name in contents if name.startswith(prefix)]
        roots = sorted(
            (name for name in names if name.endswith(".root.json")), key=lambda name: int(name.split(".")[0])
        )
        for name in [*roots[-1:], *(set(names) - set(roots))]:
            signed: Metadata[Any] = Metadata.from_bytes(contents[prefix + name])
            moments.append(signed.signed.expires.timestamp())
    return float(min(moments))
