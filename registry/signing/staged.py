"""What waits for signatures: a next root, next targets, and the releases that are to be in them.

HOME/<repository>/staged holds `root.json` and `targets.json`, TUF metadata with the signatures that there are so far,
and `waiting.json`. What has all its signatures moves to `committing` in one rename, and is put in its place from
there; a power cut in between is made good by the next who looks.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from registry.errors import CatalogueError
from registry.signing.metadata import sync_folder, write_atomic

Kind = Literal["root", "targets"]
T = TypeVar("T", Root, Targets)


class WaitingRelease(msgspec.Struct, frozen=True):
    """A release that is to be signed: its files by name, and the profiles that it may run on (none: any)."""

    model: str
    version: int
    files: dict[str, FileInfo]
    profiles: tuple[str, ...] = ()

    @property
    def ref(self) -> ReleaseRef:
        return ReleaseRef(self.model, self.version)


_releases = msgspec.json.Decoder(tuple[WaitingRelease, ...])


class Staged:
    """The folder of one repository. Callers hold the repository's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._committing = folder / "committing"

    def root(self) -> Metadata[Root] | None:
        """Return the root that is to come, or None."""
        return _read(self._folder / "root.json", Root)

    def targets(self) -> Metadata[Targets] | None:
        """Return the targets that are to come, or None."""
        return _read(self._folder / "targets.json", Targets)

    def put(self, kind: Kind, metadata: Metadata[Any]) -> None:
        """Keep metadata with the signatures that it has so far."""
        write_atomic(self._folder / f"{kind}.json", metadata.to_bytes())

    def drop(self, kind: Kind) -> None:
        """Forget what was staged."""
        (self._folder / f"{kind}.json").unlink(missing_ok=True)

    def carry(self) -> None:
        """Remember that these very targets were written to a request, and are somewhere to be signed."""
        write_atomic(self._folder / "carried", self._digest())

    def is_carried(self) -> bool:
        """Whether what is staged now was written to a request."""
        path = self._folder / "carried"
        return path.exists() and path.read_bytes() == self._digest()

    def _digest(self) -> bytes:
        targets = self.targets()
        return hashlib.sha256(targets.signed_bytes).hexdigest().encode() if targets else b""

    def waiting(self) -> tuple[WaitingRelease, ...]:
        """Return the releases that are published and not signed, oldest first."""
        try:
            return _releases.decode((self._folder / "waiting.json").read_bytes())
        except FileNotFoundError:
            return ()

    def wait(self, releases: Iterable[WaitingRelease]) -> None:
        """Say which releases are published and not signed."""
        write_atomic(self._folder / "waiting.json", msgspec.json.encode(tuple(releases)))

    def begin_commit(self, kinds: Iterable[Kind]) -> None:
        """From now on these are to be put in their place, whatever happens."""
        for left in self._folder.glob(".commit-*"):
            shutil.rmtree(left)
        made = Path(tempfile.mkdtemp(dir=self._folder, prefix=".commit-"))
        for kind in kinds:
            write_atomic(made / f"{kind}.json", (self._folder / f"{kind}.json").read_bytes())
        made.rename(self._committing)
        sync_folder(self._folder)  # before anything of it is in its place

    def is_committing(self) -> bool:
        """Whether a commit was begun and not ended."""
        return self._committing.exists()

    def committing(self) -> tuple[Metadata[Root] | None, Metadata[Targets] | None] | None:
        """Return the root and the targets of a commit that was begun and not ended, or None."""
        if not self._committing.exists():
            return None
        return _read(self._committing / "root.json", Root), _read(self._committing / "targets.json", Targets)

    def end_commit(self) -> None:
        """All of it is in its place."""
        for path in self._committing.glob("*.json"):
            (self._folder / path.name).unlink(missing_ok=True)
        sync_folder(self._folder)
        shutil.rmtree(self._committing)


def _read(path: Path, kind: type[T]) -> Metadata[T] | None:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except DeserializationError as error:
        raise CatalogueError(f"{path} is damaged: {error}; delete it, and stage the change again") from error
    if not isinstance(metadata.signed, kind):
        raise CatalogueError(f"{path} is {metadata.signed.type} metadata, not {kind.type}")
    return metadata
