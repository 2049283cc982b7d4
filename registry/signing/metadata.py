"""A folder of TUF metadata with consistent snapshots: written so that a reader, and a power cut, see old or new."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from protocols.trust import signed_at_field
from registry.errors import CatalogueError

#: A device that is in the middle of an update can still finish it against this many older versions.
KEPT_VERSIONS = 16
ROOT_LIFE = timedelta(days=365)

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
    """Who signs which role."""

    targets: CryptoSigner
    online: CryptoSigner


class MetadataFolder:
    """Timestamp, snapshot and targets of one repository; its root lies in `roots`.

    Not safe for two writers: the callers hold a file lock.
    """

    def __init__(self, folder: Path, signers: Signers, lives: Lives, clock: Clock) -> None:
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

    def write_targets(self, targets: Mapping[str, TargetFile]) -> None:
        """Sign a new version of all three roles that lists exactly these targets."""
        timestamp, snapshot, version = self._versions() or (0, 0, 0)
        version += 1
        signed = Targets(version=version, expires=self._expiry(self._lives.targets), targets=dict(targets))
        self._sign(signed, self._signers.targets, f"{version}.targets.json")
        self._write_snapshot(snapshot + 1, version)
        self._write_timestamp(timestamp + 1, snapshot + 1)
        self._prune(snapshot + 1, version)

    def refresh(self) -> None:
        """Sign again what has lived half its life, so that a live registry never serves expired metadata."""
        versions = self._versions()
        if versions is None:
            return
        timestamp, snapshot, targets = versions
        if self._aged(Targets, f"{targets}.targets.json", self._lives.targets):
            self.write_targets(self.targets())
        elif self._aged(Snapshot, f"{snapshot}.snapshot.json", self._lives.snapshot):
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

    def needs_refresh(self) -> bool:
        """Whether `refresh` would sign anything; cheap, so that reading stays free of the lock."""
        return self._aged(Timestamp, "timestamp.json", self._lives.timestamp)

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
        self._sign(signed, self._signers.online, f"{version}.snapshot.json")

    def _write_timestamp(self, version: int, snapshot: int) -> None:
        expires = self._expiry(self._lives.timestamp)
        fields = signed_at_field(self._clock())
        signed = Timestamp(version, None, expires, MetaFile(snapshot), unrecognized_fields=dict(fields))
        self._sign(signed, self._signers.online, "timestamp.json")

    def _sign(self, signed: Targets | Snapshot | Timestamp, signer: CryptoSigner, name: str) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        write_atomic(self._folder / name, metadata.to_bytes())

    def _bytes(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def _load(self, kind: type[S], name: str) -> S:
        signed = Metadata.from_bytes((self._folder / name).read_bytes()).signed
        if not isinstance(signed, kind):
            raise CatalogueError(f"{self._folder / name} is {signed.type} metadata, not {kind.type}")
        return signed

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


def read_roots(folder: Path) -> dict[str, bytes]:
    """Return the whole chain of roots by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.root.json") if not path.name.startswith(".")}


def create_root(folder: Path, root: CryptoSigner, signers: Signers, clock: Clock) -> bytes:
    """Write and return version 1 of a repository's root, or return the one that is there."""
    path = folder / "1.root.json"
    if path.exists():
        return path.read_bytes()
    signed = Root(expires=datetime.fromtimestamp(int(clock()), UTC) + ROOT_LIFE, consistent_snapshot=True)
    signed.add_key(root.public_key, Root.type)
    signed.add_key(signers.targets.public_key, Targets.type)
    signed.add_key(signers.online.public_key, Snapshot.type)
    signed.add_key(signers.online.public_key, Timestamp.type)
    metadata = Metadata(signed)
    metadata.sign(root)
    data = metadata.to_bytes()
    write_atomic(path, data)
    return data


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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
