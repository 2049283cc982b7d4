"""A folder of TUF metadata with consistent snapshots: written so that a reader, and a power cut, see old or new."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from protocols.trust import signed_at_field
from registry.errors import CatalogueError

#: A device that is in the middle of an update can still finish it against this many older versions.
KEPT_VERSIONS = 16

Clock = Callable[[], float]
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Lives:
    """How long each role's signature is good for. A role is signed again when half of its life is over."""

    targets: timedelta
    snapshot: timedelta
    timestamp: timedelta


@dataclass(frozen=True, slots=True)
class Signers:
    """Who can sign which role by itself: `online` is snapshot and timestamp."""

    targets: Sequence[Signer]
    online: Sequence[Signer]


class MetadataFolder:
    """Timestamp, snapshot and targets of one repository; its root is `registry.signing.roots`.

    Not safe for two writers: the callers hold a file lock.

    Args:
        signers: asked at each signature, since a change of keys takes effect at once.
    """

    def __init__(self, folder: Path, signers: Callable[[], Signers], lives: Lives, clock: Clock) -> None:
        self._folder = folder
        self._signers = signers
        self._lives = lives
        self._clock = clock

    def read(self, name: str) -> bytes | None:
        """Return one metadata file (`timestamp.json`, `3.snapshot.json`), or None."""
        if "/" in name or name.startswith("."):
            return None
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def targets(self) -> dict[str, TargetFile]:
        """Return the targets that the newest metadata lists."""
        versions = self._versions()
        return dict(self._load(Targets, f"{versions[2]}.targets.json").targets) if versions else {}

    def newest_targets(self) -> Metadata[Targets] | None:
        """Return the newest targets metadata, with its signatures; None before the first."""
        versions = self._versions()
        return self._metadata(Targets, f"{versions[2]}.targets.json") if versions else None

    def prepare(self, targets: Mapping[str, TargetFile]) -> Metadata[Targets]:
        """Return the next version of the targets role, listing exactly these; not signed."""
        version = (self._versions() or (0, 0, 0))[2] + 1
        return Metadata(Targets(version=version, expires=self._expiry(self._lives.targets), targets=dict(targets)))

    def write_targets(self, targets: Mapping[str, TargetFile]) -> None:
        """Sign a new version of all three roles that lists exactly these targets."""
        metadata = self.prepare(targets)
        for signer in self._signers().targets:
            metadata.sign(signer, append=True)
        self.commit(metadata)

    def commit(self, metadata: Metadata[Targets]) -> None:
        """Make signed targets the newest; the timestamp goes last, so readers see all of it or none."""
        timestamp, snapshot, _ = self._versions() or (0, 0, 0)
        version = metadata.signed.version
        write_atomic(self._folder / f"{version}.targets.json", metadata.to_bytes())
        self._write_snapshot(snapshot + 1, version)
        self._write_timestamp(timestamp + 1, snapshot + 1)
        self._prune(snapshot + 1, version)

    def targets_aged(self) -> bool:
        """Whether the targets have lived half their life."""
        versions = self._versions()
        return versions is not None and self._aged(Targets, f"{versions[2]}.targets.json", self._lives.targets)

    def refresh(self) -> None:
        """Sign snapshot and timestamp again where their time has come."""
        versions = self._versions()
        if versions is None:
            return
        timestamp, snapshot, targets = versions
        if self._aged(Snapshot, f"{snapshot}.snapshot.json", self._lives.snapshot):
            self._write_snapshot(snapshot + 1, targets)
            self._write_timestamp(timestamp + 1, snapshot + 1)
        elif self._aged(Timestamp, "timestamp.json", self._lives.timestamp):
            self._write_timestamp(timestamp + 1, snapshot)

    def prolong(self, until: datetime, *, targets: bool) -> None:
        """Sign again what would expire before `until`, so that it can be carried; `lives` must reach that far.

        Args:
            targets: sign the targets as well; False where their key is not at hand.
        """
        versions = self._versions()
        if versions is None:
            return
        timestamp, snapshot, number = versions
        if targets and self._load(Targets, f"{number}.targets.json").expires < until:
            self.write_targets(self.targets())
        elif self._load(Snapshot, f"{snapshot}.snapshot.json").expires < until:
            self._write_snapshot(snapshot + 1, number)
            self._write_timestamp(timestamp + 1, snapshot + 1)
        elif self._load(Timestamp, "timestamp.json").expires < until:
            self._write_timestamp(timestamp + 1, snapshot)

    def newest(self) -> dict[str, bytes]:
        """Return the newest timestamp, its snapshot, and every role's targets that it names."""
        timestamp = self._bytes("timestamp.json")
        number = Metadata[Timestamp].from_bytes(timestamp).signed.snapshot_meta.version
        snapshot = self._bytes(f"{number}.snapshot.json")
        roles = Metadata[Snapshot].from_bytes(snapshot).signed.meta
        named = {f"{meta.version}.{role}": self._bytes(f"{meta.version}.{role}") for role, meta in roles.items()}
        return {"timestamp.json": timestamp, f"{number}.snapshot.json": snapshot, **named}

    def follow_keys(self, before: Root, now: Root) -> bool:
        """Sign again what the keys of the root before signed and those of the root now did not.

        Returns:
            False where this folder holds what neither accepts: that is never signed again.
        """
        versions = self._versions()
        if versions is None:
            return True
        names = {
            Timestamp.type: "timestamp.json",
            Snapshot.type: f"{versions[1]}.snapshot.json",
            Targets.type: f"{versions[2]}.targets.json",
        }
        found = {role: Metadata.from_bytes((self._folder / name).read_bytes()) for role, name in names.items()}
        if all(_accepts(now, role, metadata) for role, metadata in found.items()):
            return True
        if not all(
            _accepts(before, role, metadata) or _accepts(now, role, metadata) for role, metadata in found.items()
        ):
            return False
        if _accepts(now, Targets.type, found[Targets.type]):
            self._write_snapshot(versions[1] + 1, versions[2])
            self._write_timestamp(versions[0] + 1, versions[1] + 1)
        else:
            self.write_targets(self.targets())
        return True

    def needs_refresh(self) -> bool:
        """Whether the timestamp must be signed again; cheap, so that reading stays free of the lock."""
        return self._aged(Timestamp, "timestamp.json", self._lives.timestamp)

    def expires(self) -> datetime | None:
        """When the newest targets expire; None before the first."""
        newest = self.newest_targets()
        return newest.signed.expires if newest else None

    def _versions(self) -> tuple[int, int, int] | None:
        if self.read("timestamp.json") is None:
            return None
        timestamp = self._load(Timestamp, "timestamp.json")
        number = timestamp.snapshot_meta.version
        snapshot = self._load(Snapshot, f"{number}.snapshot.json")
        return timestamp.version, number, snapshot.meta["targets.json"].version

    def _write_snapshot(self, version: int, targets: int) -> None:
        meta = {"targets.json": MetaFile(targets)}
        signed = Snapshot(version=version, expires=self._expiry(self._lives.snapshot), meta=meta)
        self._sign(signed, f"{version}.snapshot.json")

    def _write_timestamp(self, version: int, snapshot: int) -> None:
        expires = self._expiry(self._lives.timestamp)
        fields = signed_at_field(self._clock())
        signed = Timestamp(version, None, expires, MetaFile(snapshot), unrecognized_fields=dict(fields))
        self._sign(signed, "timestamp.json")

    def _sign(self, signed: Snapshot | Timestamp, name: str) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in self._signers().online:
            metadata.sign(signer, append=True)
        write_atomic(self._folder / name, metadata.to_bytes())

    def _bytes(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def _load(self, kind: type[S], name: str) -> S:
        return self._metadata(kind, name).signed

    def _metadata(self, kind: type[S], name: str) -> Metadata[S]:
        metadata: Metadata[S] = Metadata.from_bytes((self._folder / name).read_bytes())
        if not isinstance(metadata.signed, kind):
            raise CatalogueError(f"{self._folder / name} is {metadata.signed.type} metadata, not {kind.type}")
        return metadata

    def _aged(self, kind: type[S], name: str, life: timedelta) -> bool:
        if self.read(name) is None:
            return False
        expires: datetime = self._load(kind, name).expires
        return expires - self._now() < life / 2

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock()), UTC)

    def _expiry(self, life: timedelta) -> datetime:
        return self._now() + life

    def _prune(self, snapshot: int, targets: int) -> None:
        for role, newest in (("snapshot", snapshot), ("targets", targets)):
            (self._folder / f"{newest - KEPT_VERSIONS}.{role}.json").unlink(missing_ok=True)


def _accepts(root: Root, role: str, metadata: Metadata[Any]) -> bool:
    return root.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a power cut leaves the old bytes or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed, made or deleted in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
