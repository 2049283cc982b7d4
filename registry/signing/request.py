"""A signing request: a folder that is carried to where the keys are, and back.

FOLDER/<repository> holds `root.json` and `targets.json`, what is in force, and `staged.root.json` and
`staged.targets.json`, what is to come. A signature is added to the staged files; nothing else of them is taken back.
"""

import os
import stat
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from registry.errors import CeremonyRefusedError, OperatorError
from registry.signing.ceremony import describe, describe_all, repository
from registry.signing.keys import add_signature
from registry.signing.metadata import Clock, write_atomic
from registry.signing.rooted import Name
from registry.signing.staged import Kind

NAMES: tuple[Name, ...] = ("image", "director")
KINDS: tuple[Kind, ...] = ("root", "targets")
#: No file of a request is larger.
FILE_LIMIT_BYTES = 64 * 1024 * 1024


def export_request(home: Path, folder: Path, clock: Clock) -> list[str]:
    """Write the request for all that waits; return in words what is in it.

    Raises:
        CeremonyRefusedError: nothing waits, or the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CeremonyRefusedError(f"{folder} is not an empty folder; name a new one with --out")
    waiting = [one for name in NAMES for one in repository(home, name, clock).waiting()]
    if not waiting:
        raise CeremonyRefusedError("nothing waits for a signature")
    try:
        for name in dict.fromkeys(one.repository for one in waiting):
            for file, data in repository(home, name, clock).request_files(carried=True).items():
                write_atomic(folder / name / file, data, 0o644)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be written: {error.strerror}") from error
    return [str(one) for one in waiting]


def import_request(home: Path, folder: Path, clock: Clock) -> tuple[int, list[str]]:
    """Take the signatures of a request that came back; return how many were new, and what still waits.

    Raises:
        CeremonyRefusedError: it is no request, or what it signed is not what waits here now.
    """
    request = SigningRequest(folder)
    new = 0
    # The targets first: where they belong to a new root, both are put in force together.
    for name, kind, metadata in sorted(request.staged(), key=lambda one: one[1], reverse=True):
        new += repository(home, name, clock).merge(kind, metadata)
    return new, [str(one) for name in NAMES for one in repository(home, name, clock).waiting()]


class SigningRequest:
    """The folder of a request.

    Raises:
        CeremonyRefusedError: there is no request in it, or a file of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not self.staged():
            raise CeremonyRefusedError(f"{folder} holds no signing request; `genba registry keys export` writes one")

    def staged(self) -> list[tuple[Name, Kind, Metadata[Any]]]:
        """Return what is to be signed."""
        found: list[tuple[Name, Kind, Metadata[Any]]] = []
        for name in NAMES:
            for kind in KINDS:
                metadata = self._read(name, f"staged.{kind}.json")
                if metadata is not None:
                    found.append((name, kind, metadata))
        return found

    def keys(self) -> list[Key]:
        """Return the public keys whose signatures would count."""
        return [key for name, kind, _ in self.staged() for key in self._allowed(name, kind).values()]

    def describe(self) -> list[str]:
        """Say in words what a signature would let happen."""
        lines = []
        for name, kind, metadata in self.staged():
            if kind == "root":
                # The whole of it too: what is said to be in force came in the same folder.
                lines += [*describe(self._root(name), metadata.signed, name), *describe_all(metadata.signed, name)]
            else:
                lines += self._describe_targets(name, metadata.signed)
        return lines

    def sign(self, signer: Signer) -> list[str]:
        """Add this key's signature wherever it counts; return what was signed, in words."""
        done = []
        for name, kind, metadata in self.staged():
            if signer.public_key.keyid in self._allowed(name, kind):
                add_signature(metadata, signer)
                write_atomic(self._folder / name / f"staged.{kind}.json", metadata.to_bytes(), 0o644)
                done.append(f"{name} {kind} version {metadata.signed.version}")
        return done

    def _describe_targets(self, name: Name, targets: Targets) -> list[str]:
        if targets.delegations is not None:
            raise CeremonyRefusedError(
                f"{name} targets: it lets others sign in its name, which this registry never asks for; sign nothing"
            )
        strange = [path for path in targets.targets if not path.isprintable()]
        if strange:
            raise CeremonyRefusedError(f"{name} targets: {strange[0]!r} is no file's name; sign nothing")
        known = self._read(name, "targets.json")
        before = known.signed.targets if known else {}
        lines = [
            f"{name} targets: + {path} ({info.length:,} bytes, sha256 {info.hashes.get('sha256', '')})"
            for path, info in targets.targets.items()
            if path not in before
        ]
        changed = [path for path, info in targets.targets.items() if path in before and before[path] != info]
        lines += [f"{name} targets: CHANGED {path}, though a release never changes" for path in changed]
        lines += [f"{name} targets: - {path}" for path in before if path not in targets.targets]
        until = targets.expires.strftime("%Y-%m-%d")
        return [*lines, f"{name} targets: version {targets.version}, {len(targets.targets)} files, good until {until}"]

    def _allowed(self, name: Name, kind: Kind) -> dict[str, Key]:
        staged = self._read(name, "staged.root.json")
        roots = [self._root(name), *([cast(Root, staged.signed)] if staged else [])]
        role = Root.type if kind == "root" else Targets.type
        return {keyid: root.keys[keyid] for root in roots for keyid in root.roles[role].keyids}

    def _root(self, name: Name) -> Root:
        metadata = self._read(name, "root.json")
        if metadata is None or not isinstance(metadata.signed, Root):
            raise CeremonyRefusedError(f"{self._folder / name} has no root.json; export the request anew")
        return metadata.signed

    def _read(self, name: Name, file: str) -> Metadata[Any] | None:
        path = self._folder / name / file
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(_plain_file(path))
        except FileNotFoundError:
            return None
        except (OSError, DeserializationError) as error:
            raise CeremonyRefusedError(f"{path} is damaged ({error}); export the request anew") from error
        expected = Targets if "targets" in file else Root
        if not isinstance(metadata.signed, expected):
            raise CeremonyRefusedError(f"{path} is {metadata.signed.type} metadata, not {expected.type}")
        return metadata


def _plain_file(path: Path) -> bytes:
    """Return what a file of a stick holds, if it is one: a link or a device node could lead anywhere.

    Raises:
        CeremonyRefusedError: it is something else, or too large.
        OSError: it cannot be read.
    """
    if path.parent.is_symlink():
        raise CeremonyRefusedError(f"{path.parent} is a symbolic link, and a request has none")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CeremonyRefusedError(f"{path} is not a plain file")
        data = file.read(FILE_LIMIT_BYTES + 1)
    if len(data) > FILE_LIMIT_BYTES:
        raise CeremonyRefusedError(f"{path} is larger than {FILE_LIMIT_BYTES:,} bytes")
    return data
