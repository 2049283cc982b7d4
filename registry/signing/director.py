"""The director repository: what each device should run now, in metadata of its own, signed by the online key."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.dsse import Envelope
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from protocols.assignment import Assignment, encode_assignment
from protocols.manifest import FileInfo
from protocols.measuring import MEASURING_TARGET, Measuring, MeasuringOrder, encode_measuring, measured_path
from protocols.names import check_name
from protocols.resources import ASSIGNMENT_TARGET
from registry.signing.keys import load_signer
from registry.signing.metadata import Clock, Lives, MetadataFolder, write_atomic
from registry.signing.rooted import RootedRepository

log = logging.getLogger(__name__)

LIVES = Lives(targets=timedelta(days=7), snapshot=timedelta(days=7), timestamp=timedelta(days=7))
#: A device in the middle of an update can still read the assignment, or the jobs, that it began with.
KEPT_DOCUMENTS = 4


class DirectorRepository(RootedRepository):
    """HOME/director/root holds the shared root, HOME/director/devices/<device> each device's own metadata."""

    name = "director"

    def __init__(self, home: Path, clock: Clock = time.time) -> None:
        self._root_folder = home / "director" / "root"
        super().__init__(home, self._root_folder, clock)

    def create(self) -> None:
        """Sign the root; nothing where it is already."""
        self._root_folder.mkdir(parents=True, exist_ok=True)
        online = load_signer(self._home, "director-online")
        with self._lock:
            self._roots.create(load_signer(self._home, "director-root"), online, online, self._clock)

    def direct(self, assignment: Assignment, files: Mapping[str, FileInfo], profile: str) -> None:
        """Sign what one device should run.

        Args:
            files: target path -> digest and size of every file of every assigned release.
            profile: the device's profile; it goes into each target, so that metadata made for one kind of
                hardware is refused by another.
        """
        device, data = assignment.device, encode_assignment(assignment)
        targets = {path: _target(path, info, device, profile) for path, info in files.items()}
        with self._lock:
            targets[ASSIGNMENT_TARGET] = self._keep(device, profile, ASSIGNMENT_TARGET, data)
            metadata = self._metadata(device)
            measured = {path: target for path, target in metadata.targets().items() if _is_measuring(path)}
            metadata.write_targets({**targets, **measured})

    def measure(
        self,
        device: str,
        profile: str,
        orders: Sequence[MeasuringOrder],
        files: Mapping[int, Mapping[str, FileInfo]],
    ) -> None:
        """Sign what one device should measure, and no more; what it should run stays as it is.

        Args:
            files: a job's number -> its files, each with digest and size.
        """
        with self._lock:
            metadata = self._metadata(device)
            targets = {path: target for path, target in metadata.targets().items() if not _is_measuring(path)}
            for number, parts in files.items():
                named = {measured_path(number, name): info for name, info in parts.items()}
                targets |= {path: _target(path, info, device, profile) for path, info in named.items()}
            data = encode_measuring(Measuring(device, tuple(orders)))
            targets[MEASURING_TARGET] = self._keep(device, profile, MEASURING_TARGET, data)
            metadata.write_targets(targets)

    def _keep(self, device: str, profile: str, name: str, data: bytes) -> TargetFile:
        """Write a document of the director's own beside its last few, and return it as a target."""
        digest, folder = hashlib.sha256(data).hexdigest(), self._targets_folder(device)
        write_atomic(folder / f"{digest}.{name}", data)
        oldest_first = sorted(folder.glob("*." + name), key=lambda path: path.stat().st_mtime)
        for stale in oldest_first[:-KEPT_DOCUMENTS]:
            stale.unlink(missing_ok=True)
        return _target(name, FileInfo(digest, len(data)), device, profile)

    def directs(self, device: str, path: str, sha256: str) -> bool:
        """Whether this device is to run the target: what it is not to run, it may not read either."""
        target = self._metadata(device).targets().get(path)
        return target is not None and target.hashes.get("sha256") == sha256

    def metadata(self, device: str, name: str) -> bytes | None:
        """Return one metadata file for a device, freshly signed where its time had come, or None."""
        self._await_commit()
        if name.endswith(".root.json"):
            return self._roots.read(name)
        folder = self._metadata(device)
        if name == "timestamp.json" and folder.needs_refresh():
            with self._lock:
                self._finish_commit()
                self._settle()
                if folder.targets_aged():
                    folder.write_targets(folder.targets())
                else:
                    folder.refresh()
        return folder.read(name)

    def carry(self, device: str, life: timedelta) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return (metadata, targets) of a device for a stick, by name, good for `life`.

        It is the device's own next metadata, in the one series of versions that it also hears over MQTT.
        """
        path = self._device(device) / "metadata"
        with self._lock:
            folder = MetadataFolder(path, self._signers, Lives(life, life, life), self._clock)
            folder.prolong(datetime.fromtimestamp(int(self._clock()), UTC) + life, targets=True)
            digest = folder.targets()[ASSIGNMENT_TARGET].hashes["sha256"]
            name = f"{digest}.{ASSIGNMENT_TARGET}"
            metadata = {**self._roots.all(), **folder.newest()}
            return metadata, {name: (self._targets_folder(device) / name).read_bytes()}

    def sign_envelope(self, envelope: Envelope) -> None:
        """Sign what a device believes of the registry beside its metadata."""
        for signer in self._signers().online:
            envelope.sign(signer)

    def document(self, device: str, name: str) -> bytes | None:
        """Return the bytes of a device's `<sha256>.assignment.json` or `<sha256>.measuring.json`, or None."""
        if "/" in name or name.partition(".")[2] not in (ASSIGNMENT_TARGET, MEASURING_TARGET):
            return None
        path = self._targets_folder(device) / name
        return path.read_bytes() if path.exists() else None

    def _metadata(self, device: str) -> MetadataFolder:
        return MetadataFolder(self._device(device) / "metadata", self._signers, LIVES, self._clock)

    def _online_roles(self) -> tuple[str, ...]:
        return (Targets.type, Snapshot.type, Timestamp.type)

    def _binding(self, root: Metadata[Root] | None) -> Root:
        return self._roots.current().signed

    def _follow_keys(self, before: Root, now: Root) -> None:
        for folder in sorted((self._home / "director" / "devices").glob("*/metadata")):
            device = folder.parent.name
            if not self._metadata(device).follow_keys(before, now):
                log.error(
                    "the metadata of a device is signed by no key of ours; assign it anew", extra={"device": device}
                )

    def _targets_folder(self, device: str) -> Path:
        return self._device(device) / "targets"

    def _device(self, device: str) -> Path:
        return self._home / "director" / "devices" / check_name("device", device)


def _target(path: str, info: FileInfo, device: str, profile: str) -> TargetFile:
    custom = {"custom": {"device": device, "profiles": [profile]}}
    return TargetFile(info.size_bytes, {"sha256": info.sha256}, path, custom)


def _is_measuring(path: str) -> bool:
    """Whether a target is one of measuring: of one level, where a release's file has three."""
    return path != ASSIGNMENT_TARGET and "/" not in path
