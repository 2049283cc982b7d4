"""The image repository: what may ever run, on any device."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock
from tuf.api.metadata import TargetFile

from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from protocols.resources import target_path
from registry.errors import ReleaseExistsError
from registry.signing.keys import load_signer
from registry.signing.metadata import Clock, Lives, MetadataFolder, Signers, create_root, read_roots

LIVES = Lives(targets=timedelta(days=365), snapshot=timedelta(days=30), timestamp=timedelta(days=7))


class ImageRepository:
    """Release metadata under HOME/image/metadata, signed by the release key; freshness by the online key."""

    def __init__(self, home: Path, clock: Clock = time.time) -> None:
        self._home = home
        self._folder = home / "image" / "metadata"
        self._signers = Signers(load_signer(home, "image-targets"), load_signer(home, "image-online"))
        self._metadata = MetadataFolder(self._folder, self._signers, LIVES, clock)
        self._lock = FileLock(home / "image" / ".lock", timeout=30)
        self._clock = clock

    def create(self) -> None:
        """Sign the root and an empty list of releases; nothing where they are already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            create_root(self._folder, load_signer(self._home, "image-root"), self._signers, self._clock)
            if self._metadata.read("timestamp.json") is None:
                self._metadata.write_targets({})

    @property
    def root(self) -> bytes:
        """Version 1 of the root: what a device pins at enrolment."""
        return (self._folder / "1.root.json").read_bytes()

    def publish(self, ref: ReleaseRef, files: Mapping[str, FileInfo], profiles: tuple[str, ...] = ()) -> None:
        """Sign the files of a new release.

        Args:
            files: every file of the release by name, `release.json` among them.
            profiles: the device profiles it may run on; empty for any.

        Raises:
            ReleaseExistsError: a release of this name is signed already; releases are immutable.
        """
        custom = {"custom": {"profiles": list(profiles)}} if profiles else {}
        with self._lock:
            targets = self._metadata.targets()
            for name, info in files.items():
                path = target_path(ref, name)
                if path in targets:
                    raise ReleaseExistsError(ref)
                targets[path] = TargetFile(info.size_bytes, {"sha256": info.sha256}, path, dict(custom) or None)
            self._metadata.write_targets(targets)

    def metadata(self, name: str) -> bytes | None:
        """Return one metadata file, freshly signed where its time had come; None if there is none of that name."""
        if name == "timestamp.json" and self._metadata.needs_refresh():
            with self._lock:
                self._metadata.refresh()
        return self._metadata.read(name)

    def carry(self, life: timedelta) -> dict[str, bytes]:
        """Return what a stick carries, by name: the chain of roots, and the newest metadata, good for `life`.

        The targets' own signature lasts as long as it does: the release keys may be far away.
        """
        with self._lock:
            lives = Lives(LIVES.targets, life, life)
            folder = MetadataFolder(self._folder, self._signers, lives, self._clock)
            folder.prolong(datetime.fromtimestamp(int(self._clock()), UTC) + life, targets=False)
            return {**read_roots(self._folder), **folder.newest()}
