"""What this device may install: director and image repository, each verified by python-tuf, must agree.

Source: Uptane Standard 2.0.0, section 5.4.4.2, "full verification": the director first, then the image repository,
then the comparison, target by target.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from tuf.api.exceptions import LengthOrHashMismatchError

from edge_agent.disk import replacing, sync_folder
from edge_agent.errors import ReleaseRefusedError, ResourceFinalError, TransferError, TrustError
from edge_agent.fetchers import OwnedReader
from edge_agent.patching import Patching
from edge_agent.releases import ReleaseStore, read_release
from edge_agent.signed_metadata import (
    Fetcher,
    MetadataReader,
    OpenReader,
    PinnedRoots,
    SignedTarget,
    Sources,
    translated,
)
from edge_agent.trusted_time import TrustedTime
from protocols.assignment import Assignment, decode_assignment
from protocols.errors import DisagreementError, ManifestError, ProtocolError
from protocols.manifest import Manifest, decode_manifest
from protocols.measuring import (
    MEASURED_FILES,
    MEASURING_TARGET,
    MeasuringOrder,
    decode_measuring,
    measured_path,
)
from protocols.names import ReleaseRef
from protocols.resources import (
    ASSIGNMENT_TARGET,
    RELEASE_FILES,
    VARIANT_FILES,
    Repository,
    target_path,
)
from protocols.trust import TargetFacts, check_agreement, read_note

#: Left free on the disk after a release was fetched, in bytes.
_SPARE_BYTES = 16 * 1024 * 1024


class Verifier:
    """Reads assignments and releases through both repositories' metadata. Not thread-safe: one caller at a time.

    Args:
        metadata: folder for both repositories' trusted metadata.
        device, profile: who this is; metadata made for another is refused.
        time: by which expiry is judged; without it, the device's clock and what is remembered in `metadata`.
        patching: makes files of what is here already; without it, every file comes whole.
        open_reader: who reads the metadata; without it, this process does.
    """

    def __init__(
        self,
        metadata: Path,
        roots: PinnedRoots,
        fetcher: Fetcher,
        *,
        device: str,
        profile: str,
        time: TrustedTime | None = None,
        patching: Patching | None = None,
        open_reader: OpenReader | None = None,
    ) -> None:
        self._metadata, self._fetcher = metadata, fetcher
        self._device, self._profile = device, profile
        self._time = time or TrustedTime(metadata / "time.json")
        self._sources = Sources(metadata, roots, fetcher, self._now)
        self._open_reader = open_reader or _read_here
        self.patching = patching or Patching(0)

    def assignment(self) -> Assignment | None:
        """Return what the director has signed for this device, or None if it has signed nothing yet.

        Raises:
            TrustError: the metadata is expired, unsigned, older than what was seen, or for another device.
            TransferError: it cannot be had now.
        """
        found = self._assignment_target()
        if found is None:
            return None
        self._check_addressee(found)
        with self._download(found) as file:
            data = file.read()
        try:
            assignment = decode_assignment(data)
        except ProtocolError as error:
            raise TrustError(f"the director's assignment: {error}") from error
        if assignment.device != self._device:
            raise TrustError(f"the director's assignment is for device {assignment.device!r}, not {self._device!r}")
        return assignment

    def _assignment_target(self) -> SignedTarget | None:
        with self._open_reader(self._sources) as reader:
            try:
                self._refresh(reader, "director")
            except ResourceFinalError:
                if (self._metadata / "director" / "timestamp.json").exists():
                    raise  # it signed something before, and cannot have unsigned it
                return None
            return reader.target("director", ASSIGNMENT_TARGET)

    def measuring(self) -> tuple[MeasuringOrder, ...]:
        """Return the jobs that the director has signed for this device to measure, oldest first.

        Raises:
            TrustError: the metadata is expired, unsigned, older than what was seen, or for another device.
            TransferError: it cannot be had now.
        """
        with self._open_reader(self._sources) as reader:
            self._refresh(reader, "director")
            found = reader.target("director", MEASURING_TARGET)
        return self._orders(found) if found is not None else ()

    def _orders(self, target: SignedTarget) -> tuple[MeasuringOrder, ...]:
        self._check_addressee(target)
        with self._download(target) as file:
            data = file.read()
        try:
            measuring = decode_measuring(data)
        except ProtocolError as error:
            raise TrustError(f"the director's measuring jobs: {error}") from error
        if measuring.device != self._device:
            raise TrustError(f"the director's measuring jobs are for {measuring.device!r}, not {self._device!r}")
        return measuring.orders

    def fetch_measured(self, order: MeasuringOrder, folder: Path, limit_bytes: int) -> bool:
        """Bring a job's files into a folder, each as the director signed it; False where it signs the job no more.

        Args:
            limit_bytes: most that they may have together.

        Raises:
            ReleaseRefusedError: they are too large, for other hardware, or not what was signed.
            TrustError, TransferError: not now.
        """
        with self._open_reader(self._sources) as reader:
            self._refresh(reader, "director")
            listed = reader.target("director", MEASURING_TARGET)
            targets = [reader.target("director", measured_path(order.number, name)) for name in MEASURED_FILES]
        if listed is None or order not in self._orders(listed):
            return False
        signed = [target for target in targets if target is not None and self._for_this_hardware(target)]
        if len(signed) != len(targets):
            raise ReleaseRefusedError(f"measuring job {order.number}: the director has not signed all of its files")
        size = sum(target.length for target in signed)
        if size > limit_bytes:
            raise ReleaseRefusedError(f"the graph has {size:,} bytes, and this device takes {limit_bytes:,}")
        if shutil.disk_usage(folder).free < size + _SPARE_BYTES:
            raise ReleaseRefusedError(f"the disk has no room for the {size:,} bytes of the graph")
        for name, target in zip(MEASURED_FILES, signed, strict=True):
            with self._download(target) as source:
                _keep(source, folder / name)
        return True

    def _for_this_hardware(self, target: SignedTarget) -> bool:
        self._check_addressee(target)
        profiles = _facts(target).profiles
        if profiles and self._profile not in profiles:
            raise ReleaseRefusedError(f"{target.path}: for {', '.join(profiles)}, and this device is {self._profile!r}")
        return True

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
        targets = self._wanted(ref)
        if _complete(store.path(ref), targets):
            return
        staged = store.staging(ref)
        missing = [target for target in targets if not _intact(staged / Path(target.path).name, target)]
        self._check_room(store, sum(target.length for target in missing))
        for target in targets:
            path = staged / Path(target.path).name
            if target in missing and not self.patching.make(ref, target, store, path, self._fetcher.download_file):
                with self._download(target) as source:
                    _keep(source, path)
            if path.name == "release.json":
                admit(_believed(path))
        store.commit(ref)

    def check(self, ref: ReleaseRef) -> None:
        """Check all that `fetch` checks of where it comes from, and keep nothing. Raises as `fetch`."""
        for target in self._wanted(ref):
            with self._download(target):
                pass

    def _wanted(self, ref: ReleaseRef) -> list[SignedTarget]:
        """Return the image repository's word on a release's files, with which the director's agrees."""
        paths = [target_path(ref, name) for name in RELEASE_FILES]
        variants = [target_path(ref, name) for name in VARIANT_FILES]
        with self._open_reader(self._sources) as reader:
            self._refresh(reader, "director")
            self._refresh(reader, "image")
            paths += [path for path in variants if reader.target("director", path) is not None]
            return [self._agreed(reader, path) for path in paths]

    def _agreed(self, reader: MetadataReader, path: str) -> SignedTarget:
        """Return the image repository's word on a target, if the director's is the same."""
        wanted = reader.target("director", path)
        if wanted is None:
            raise ReleaseRefusedError(f"{path}: the director has not signed it for this device; assign it again")
        self._check_addressee(wanted)
        allowed = reader.target("image", path)
        try:
            with translated(path):
                image_facts, director_facts = _facts(allowed) if allowed else None, _facts(wanted)
            check_agreement(image_facts, director_facts, self._profile)
        except DisagreementError as error:
            raise ReleaseRefusedError(str(error)) from error
        assert allowed is not None  # noqa: S101 - check_agreement refuses None
        return allowed

    def _check_addressee(self, target: SignedTarget) -> None:
        with translated(target.path):
            addressee = read_note(target.path, target.custom).device
        if addressee not in (None, self._device):
            raise TrustError(f"{target.path}: the director signed it for device {addressee!r}, not {self._device!r}")

    def _check_room(self, store: ReleaseStore, needed_bytes: int) -> None:
        free = shutil.disk_usage(self._metadata).free
        needed = needed_bytes + _SPARE_BYTES
        if free < needed:
            raise TransferError("release", f"{free >> 20} MiB are free on the disk, and {needed >> 20} are needed")

    def _refresh(self, reader: MetadataReader, repository: Repository) -> None:
        """Have a repository's metadata be new and valid; what is trusted of it is safe on disk."""
        refreshed = reader.refresh(repository)
        if repository == "director":
            self._time.learn(refreshed.signed_at)
            if refreshed.delegates:
                raise TrustError("director: it lets others sign in its name, which a director must not")

    def _now(self, repository: Repository, root_version: int) -> float:
        return self._time.now(root_version) if repository == "director" else self._time.now()

    @contextlib.contextmanager
    def _download(self, target: SignedTarget) -> Iterator[Any]:
        """Yield a target's bytes as a file, after they were compared with the signed length and hashes."""
        url = target.url
        try:
            with translated(url), self._fetcher.download_file(url, target.length) as file:
                target.verify_length_and_hashes(file)
                file.seek(0)
                yield file
        except ResourceFinalError as error:
            raise ReleaseRefusedError(f"the registry does not give {url}: {error.reason}") from error
        except TrustError as error:
            if isinstance(error.__cause__, LengthOrHashMismatchError):
                raise ReleaseRefusedError(f"{target.path}: what arrived is not what was signed") from error
            raise


def _read_here(sources: Sources) -> AbstractContextManager[MetadataReader]:
    from edge_agent.metadata_here import read_here

    return read_here(sources)


def _facts(target: SignedTarget) -> TargetFacts:
    profiles = read_note(target.path, target.custom).profiles
    return TargetFacts(target.path, target.length, target.hashes, profiles, target.custom or {})


def _intact(path: Path, target: SignedTarget) -> bool:
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


def _complete(folder: Path, targets: list[SignedTarget]) -> bool:
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
