"""Blobs: files by the SHA-256 of what they hold, under HOME/blobs/sha256/ab/<digest>."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import IO, BinaryIO

from protocols.manifest import FileInfo
from registry.errors import TooLargeError

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_CHUNK = 1024 * 1024


class Blobs:
    """A folder of immutable files. Safe for several writers: equal content has an equal name."""

    def __init__(self, home: Path) -> None:
        self._root = home / "blobs" / "sha256"

    def put(self, stream: IO[bytes], *, limit_bytes: int | None = None) -> str:
        """Keep what the stream holds, from where it stands, and return its SHA-256 as hex.

        Raises:
            TooLargeError: the stream holds more than `limit_bytes`; nothing is kept.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        descriptor, name = tempfile.mkstemp(dir=self._root, prefix=".put-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    if limit_bytes is not None and size > limit_bytes:
                        raise TooLargeError("the upload", limit_bytes)
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            self._adopt(Path(name), digest.hexdigest())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def _adopt(self, temporary: Path, digest: str) -> None:
        target = self._target(digest)
        target.parent.mkdir(exist_ok=True)
        temporary.chmod(0o444)
        temporary.rename(target)
        for folder in (target.parent, self._root):
            _sync_folder(folder)

    def path(self, sha256: str) -> Path:
        """Return where a blob lies.

        Raises:
            FileNotFoundError: there is none of that digest.
        """
        target = self._target(sha256)
        if not target.is_file():
            raise FileNotFoundError(f"no blob {sha256}")
        return target

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading; the caller closes it."""
        return self.path(sha256).open("rb")

    def __contains__(self, sha256: str) -> bool:
        return bool(_DIGEST.match(sha256)) and self._target(sha256).is_file()

    def _target(self, digest: str) -> Path:
        if not _DIGEST.match(digest):
            raise FileNotFoundError(f"{digest!r} is not a SHA-256")
        return self._root / digest[:2] / digest


def file_info(path: Path) -> FileInfo:
    """Return a file's digest and size."""
    with path.open("rb") as file:
        return FileInfo(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
