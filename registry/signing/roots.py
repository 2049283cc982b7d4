"""A repository's roots: which keys sign which role, and how many of them it takes; every version is kept.

A device that slept through several changes follows them one by one, so no version is ever deleted.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from registry.errors import CatalogueError, NotInitialisedError
from registry.signing.metadata import Clock, write_atomic

ROOT_LIFE = timedelta(days=365)


class Roots:
    """The folder of `1.root.json`, `2.root.json`, ..."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder, self._home = folder, home

    def create(self, root: Signer, targets: Signer, online: Signer, clock: Clock) -> None:
        """Write version 1, with one key for each role, each of which suffices; nothing where it is there."""
        if (self._folder / "1.root.json").exists():
            return
        signed = Root(expires=datetime.fromtimestamp(int(clock()), UTC) + ROOT_LIFE, consistent_snapshot=True)
        signed.add_key(root.public_key, Root.type)
        signed.add_key(targets.public_key, Targets.type)
        signed.add_key(online.public_key, Snapshot.type)
        signed.add_key(online.public_key, Timestamp.type)
        metadata = Metadata(signed)
        metadata.sign(root)
        self.add(metadata)

    def add(self, metadata: Metadata[Root]) -> None:
        """Write the next version, which must be signed."""
        write_atomic(self._folder / f"{metadata.signed.version}.root.json", metadata.to_bytes())

    @property
    def first(self) -> bytes:
        """Version 1: what a device pins at enrolment. Raises NotInitialisedError where there is none."""
        try:
            return (self._folder / "1.root.json").read_bytes()
        except FileNotFoundError as error:
            raise NotInitialisedError(self._home) from error

    def read(self, name: str) -> bytes | None:
        """Return one version, `<N>.root.json`, or None."""
        path = self._folder / name
        return path.read_bytes() if "/" not in name and name.endswith(".root.json") and path.exists() else None

    def all(self) -> dict[str, bytes]:
        """Return every version by name."""
        return {path.name: path.read_bytes() for path in self._folder.glob("[1-9]*.root.json")}

    def current(self) -> Metadata[Root]:
        """Return the newest version.

        Raises:
            NotInitialisedError: there is none.
            CatalogueError: it cannot be read.
        """
        numbers = [path.name.partition(".")[0] for path in self._folder.glob("*.root.json")]
        newest = max((int(number) for number in numbers if number.isdecimal()), default=0)
        if not newest:
            raise NotInitialisedError(self._home)
        return self.version(newest)

    def version(self, number: int) -> Metadata[Root]:
        """Return one version. Raises CatalogueError where it cannot be read."""
        path = self._folder / f"{number}.root.json"
        metadata: Metadata[Root] = Metadata.from_bytes(path.read_bytes())
        if not isinstance(metadata.signed, Root):
            raise CatalogueError(f"{path} is {metadata.signed.type} metadata, not root")
        return metadata
