"""The director repository: what each device should run now, in metadata of its own, signed by the online key."""

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock
from securesystemslib.dsse import Envelope
from tuf.api.metadata import TargetFile

from protocols.assignment import Assignment, encode_assignment
from protocols.manifest import FileInfo
from protocols.names import check_name
from protocols.resources import ASSIGNMENT_TARGET
from registry.signing.keys import load_signer
from registry.signing.metadata import Clock, Lives, MetadataFolder, Signers, create_root, read_roots, write_atomic

LIVES = Lives(targets=timedelta(days=7), snapshot=timedelta(days=7), timestamp=timedelta(days=7))
#: A device in the middle of an update can still read the assignment that it began with.
KEPT_ASSIGNMENTS = 4


class DirectorRepository:
    """HOME/director/root holds the shared root, HOME/director/devices/<device> each device's own metadata."""

    def __init__(self, home: Path, clock: Clock = time.time) -> None:
        self._home = home
        self._roots = home / "director" / "root"
        online = load_signer(home, "director-online")
        self._signers = Signers(online, online)
        self._lock = FileLock(home / "director" / ".lock", timeout=30)
        self._clock = clock

    def create(self) -> None:
        """Sign the root; nothing where it is already."""
        self._roots.mkdir(parents=True, exist_ok=True)
        with self._lock:
            create_root(self._roots, load_signer(self._home, "director-root"), self._signers, self._clock)

    @property
    def root(self) -> bytes:
        """Version 1 of the root: what a device pins at enrolment."""
        return (self._roots / "1.root.json").read_bytes()

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
        if name.endswith(".root.json"):
            path = self._roots / name
            return path.read_bytes() if "/" not in name and path.exists() else None
        folder = self._metadata(device)
        if name == "timestamp.json" and folder.needs_refresh():
            with self._lock:
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
            metadata = {**read_roots(self._roots), **folder.newest()}
            return metadata, {name: (self._targets_folder(device) / name).read_bytes()}

    def sign(self, envelope: Envelope) -> None:
        """Sign what a device believes of the registry beside its metadata."""
        envelope.sign(self._signers.online)

    def assignment(self, device: str, name: str) -> bytes | None:
        """Return the bytes of a device's assignment target, `<sha256>.assignment.json`, or None."""
        if "/" in name or not name.endswith("." + ASSIGNMENT_TARGET):
            return None
        path = self._targets_folder(device) / name
        return path.read_bytes() if path.exists() else None

    def _metadata(self, device: str) -> MetadataFolder:
        return MetadataFolder(self._device(device) / "metadata", self._signers, LIVES, self._clock)

    def _targets_folder(self, device: str) -> Path:
        return self._device(device) / "targets"

    def _device(self, device: str) -> Path:
        return self._home / "director" / "devices" / check_name("device", device)
