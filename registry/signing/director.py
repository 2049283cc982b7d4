"""The director repository: what each device should run now, in metadata of its own, signed by the online key."""

import hashlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.dsse import Envelope
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from protocols.assignment import Assignment, encode_assignment
from protocols.manifest import FileInfo
from protocols.names import check_name
from protocols.resources import ASSIGNMENT_TARGET
from registry.signing.keys import load_signer
from registry.signing.metadata import Clock, Lives, MetadataFolder, write_atomic
from registry.signing.rooted import RootedRepository

log = logging.getLogger(__name__)

LIVES = Lives(targets=timedelta(days=7), snapshot=timedelta(days=7), timestamp=timedelta(days=7))
#: A device in the middle of an update can still read the assignment that it began with.
KEPT_ASSIGNMENTS = 4


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
        data = encode_assignment(assignment)
        digest = hashlib.sha256(data).hexdigest()
        custom = {"custom": {"device": assignment.device, "profiles": [profile]}}
        targets = {
            path: TargetFile(info.size_bytes, {"sha256": info.sha256}, path, dict(custom))
            for path, info in files.items()
        }
        targets[ASSIGNMENT_TARGET] = TargetFile(len(data), {"sha256": digest}, ASSIGNMENT_TARGET, dict(custom))
        folder = self._targets_folder(assignment.device)
        with self._lock:
            write_atomic(folder / f"{digest}.{ASSIGNMENT_TARGET}", data)
            self._metadata(assignment.device).write_targets(targets)
            oldest_first = sorted(folder.glob("*." + ASSIGNMENT_TARGET), key=lambda path: path.stat().st_mtime)
            for stale in oldest_first[:-KEPT_ASSIGNMENTS]:
                stale.unlink(missing_ok=True)

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

    def assignment(self, device: str, name: str) -> bytes | None:
        """Return the bytes of a device's assignment target, `<sha256>.assignment.json`, or None."""
        if "/" in name or not name.endswith("." + ASSIGNMENT_TARGET):
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
