"""What this device may install: director and image repository, each verified by python-tuf, must agree.

Source: Uptane Standard 2.0.0, section 5.4.4.2, "full verification": the director first, then the image repository,
then the comparison, target by target.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.disk import replacing, sync_folder
from edge_agent.errors import ReleaseRefusedError, ResourceFinalError, TransferError, TrustError
from edge_agent.fetchers import OwnedReader
from edge_agent.patching import Patching
from edge_agent.releases import ReleaseStore, read_release
from edge_agent.trusted_time import TrustedTime
from edge_agent.updater import MetadataUpdater
from protocols.assignment import Assignment, decode_assignment
from protocols.errors import DisagreementError, ManifestError, MetadataFormError, ProtocolError
from protocols.manifest import Manifest, decode_manifest
from protocols.names import ReleaseRef
from protocols.resources import (
    ASSIGNMENT_TARGET,
    RELEASE_FILES,
    VARIANT_FILES,
    Repository,
    metadata_url,
    target_path,
    targets_url,
)
from protocols.trust import TargetFacts, check_agreement, read_note

#: Left free on the disk after a release was fetched, in bytes.
_SPARE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PinnedRoots:
    """Version 1 of each repository's root, as pinned at enrolment: all trust begins here."""

    image: bytes
    director: bytes


class Verifier:
    """Reads assignments and releases through both repositories' metadata. Not thread-safe: one caller at a time.

    Args:
        metadata: folder for both repositories' trusted metadata.
        device, profile: who this is; metadata made for another is refused.
        time: by which expiry is judged; without it, the device's clock and what is remembered in `metadata`.
        patching: makes files of what is here already; without it, every file comes whole.
    """

    def __init__(
        self,
        metadata: Path,
        roots: PinnedRoots,
        fetcher: FetcherInterface,
        *,
        device: str,
        profile: str,
        time: TrustedTime | None = None,
        patching: Patching | None = None,
    ) -> None:
        self._metadata, self._roots, self._fetcher = metadata, roots, fetcher
        self._device, self._profile = device, profile
        self._time = time or TrustedTime(metadata / "time.json")
        self.patching = patching or Patching(0)

    def assignment(self) -> Assignment | None:
        """Return what the director has signed for this device, or None if it has signed nothing yet.

        Raises:
            TrustError: the metadata is expired, unsigned, older than what was seen, or for another device.
            TransferError: it cannot be had now.
        """
        try:
            director = self._refreshed("director")
        except ResourceFinalError:
            if (self._metadata / "director" / "timestamp.json").exists():
                raise  # it signed something before, and cannot have unsigned it
            return None
        found = self._target(director, ASSIGNMENT_TARGET)
        if found is None:
            return None
        self._check_addressee(found)
        with self._download(director, found) as file:
            data = file.read()
        try:
            assignment = decode_assignment(data)
        except ProtocolError as error:
            raise TrustError(f"the director's assignment: {error}") from error
        if assignment.device != self._device:
            raise TrustError(f"the director's assignment is for device {assignment.device!r}, not {self._device!r}")
        return assignment

    def fetch(
        self, ref: ReleaseRef, store: ReleaseStore, admit: Callable[[Manifest], None] = lambda manifest: None
    ) -> None:
        """Bring a release into the store, each file as both repositories signed it.

        Args:
            admit: judges the manifest, which comes first, before anything large is fetched; raises ReleaseRefusedError.

        Raises:
            ReleaseRefusedError: the repositories disagree, a file is not what they signed, or it was not admitted.
            TrustError, TransferError: not now.
        """
        image, targets = self._wanted(ref)
        if _complete(store.path(ref), targets):
            return
        staged = store.staging(ref)
        missing = [target for target in targets if not _intact(staged / Path(target.path).name, target)]
        self._check_room(store, sum(target.length for target in missing))
        for target in targets:
            path = staged / Path(target.path).name
            if target in missing and not self.patching.make(ref, target, store, path, self._fetcher.download_file):
                with self._download(image, target) as source:
                    _keep(source, path)
            if path.name == "release.json":
                admit(_believed(path))
        store.commit(ref)

    def check(self, ref: ReleaseRef) -> None:
        """Check all that `fetch` checks of where it comes from, and keep nothing. Raises as `fetch`."""
        image, targets = self._wanted(ref)
        for target in targets:
            with self._download(image, target):
                pass

    def _wanted(self, ref: ReleaseRef) -> tuple[MetadataUpdater, list[TargetFile]]:
        """Return the image repository and its word on a release's files, with which the director's agrees."""
        director, image = self._refreshed("director"), self._refreshed("image")
        paths = [target_path(ref, name) for name in RELEASE_FILES]
        variants = [target_path(ref, name) for name in VARIANT_FILES]
        paths += [path for path in variants if self._target(director, path) is not None]
        return image, [self._agreed(director, image, path) for path in paths]

    def _agreed(self, director: MetadataUpdater, image: MetadataUpdater, path: str) -> TargetFile:
        """Return the image repository's word on a target, if the director's is the same."""
        wanted = self._target(director, path)
        if wanted is None:
            raise ReleaseRefusedError(f"{path}: the director has not signed it for this device; assign it again")
        self._check_addressee(wanted)
        allowed = self._target(image, path)
        try:
            with _translated(path):
                image_facts, director_facts = _facts(allowed) if allowed else None, _facts(wanted)
            check_agreement(image_facts, director_facts, self._profile)
        except DisagreementError as error:
            raise ReleaseRefusedError(str(error)) from error
        assert allowed is not None  # noqa: S101 - check_agreement refuses None
        return allowed

    def _check_addressee(self, target: TargetFile) -> None:
        with _translated(target.path):
            addressee = read_note(target.path, target.custom).device
        if addressee not in (None, self._device):
            raise TrustError(f"{target.path}: the director signed it for device {addressee!r}, not {self._device!r}")

    def _check_room(self, store: ReleaseStore, needed_bytes: int) -> None:
        free = shutil.disk_usage(self._metadata).free
        needed = needed_bytes + _SPARE_BYTES
        if free < needed:
            raise TransferError("release", f"{free >> 20} MiB are free on the disk, and {needed >> 20} are needed")

    def _refreshed(self, repository: Repository) -> MetadataUpdater:
        """Return an updater whose metadata is new and valid; what it trusts is safe on disk."""
        folder = self._metadata / repository
        folder.mkdir(parents=True, exist_ok=True)
        director = repository == "director"
        with _translated(repository):
            updater = MetadataUpdater(
                folder,
                metadata_url(repository),
                targets_url(repository),
                self._fetcher,
                root=self._roots.director if director else self._roots.image,
                now=self._time.now if director else lambda root: self._time.now(),
            )
            updater.refresh()
            if director:
                self._time.learn(updater.signed_at)
        if director and updater.delegates:
            raise TrustError("director: it lets others sign in its name, which a director must not")
        return updater

    def _target(self, updater: MetadataUpdater, path: str) -> TargetFile | None:
        with _translated(path):
            return updater.get_targetinfo(path)

    @contextlib.contextmanager
    def _download(self, updater: MetadataUpdater, target: TargetFile) -> Iterator[Any]:
        """Yield a target's bytes as a file, after they were compared with the signed length and hashes."""
        url = updater.target_url(target)
        try:
            with _translated(url), updater.open_target(target) as file:
                yield file
        except ResourceFinalError as error:
            raise ReleaseRefusedError(f"the registry does not give {url}: {error.reason}") from error
        except TrustError as error:
            if isinstance(error.__cause__, LengthOrHashMismatchError):
                raise ReleaseRefusedError(f"{target.path}: what arrived is not what was signed") from error
            raise


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn python-tuf's errors into ours."""
    try:
        yield
    except DownloadHTTPError as error:
        if error.status_code in (404, 410):
            raise ResourceFinalError(what, error.status_code, str(error)) from error
        raise TransferError(what, str(error)) from error
    except DownloadLengthMismatchError as error:
        raise TrustError(f"{what}: more arrives than may: {error}") from error
    except DownloadError as error:
        raise TransferError(what, str(error)) from error
    except (RepositoryError, MetadataFormError) as error:
        raise TrustError(f"{what}: {error}") from error


def _facts(target: TargetFile) -> TargetFacts:
    profiles = read_note(target.path, target.custom).profiles
    return TargetFacts(target.path, target.length, target.hashes, profiles, target.custom or {})


def _intact(path: Path, target: TargetFile) -> bool:
    try:
        with path.open("rb") as file:
            target.verify_length_and_hashes(file)
    except (OSError, LengthOrHashMismatchError):
        return False
    return True


def _keep(source: IO[bytes], path: Path) -> None:
    """Put a verified file in its place: move it where it is ours, and copy it where it is not."""
    if not isinstance(source, OwnedReader):
        with replacing(path) as file:
            shutil.copyfileobj(source, file)
        return
    os.fchmod(source.fileno(), 0o644)
    os.fsync(source.fileno())
    os.replace(source.name, path)  # noqa: PTH105 - an open file's name
    sync_folder(path.parent)


def _believed(path: Path) -> Manifest:
    try:
        return decode_manifest(path.read_bytes())
    except ManifestError as error:
        raise ReleaseRefusedError(str(error)) from error


def _complete(folder: Path, targets: list[TargetFile]) -> bool:
    return all(_intact(folder / Path(target.path).name, target) for target in targets)


def check_release(ref: ReleaseRef, store: ReleaseStore) -> Manifest:
    """Return the manifest of a fetched release that agrees with its name, its files and itself.

    Raises:
        ReleaseRefusedError: it does not.
    """
    folder = store.path(ref)
    try:
        manifest = read_release(folder)
    except ProtocolError as error:
        raise ReleaseRefusedError(str(error)) from error
    if manifest.release != ref:
        raise ReleaseRefusedError(f"release.json of {ref} says that it is {manifest.release}")
    unproven = [name for name in RELEASE_FILES if name != "release.json" and name not in manifest.files]
    if unproven:
        raise ReleaseRefusedError(f"release.json of {ref} lists no {', '.join(unproven)}")
    if not manifest.parity.passed:
        raise ReleaseRefusedError(f"{ref} has no passed parity certificate")
    return manifest
