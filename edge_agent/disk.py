"""Files that survive a power cut: temp -> fsync -> rename -> fsync of the folder."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

#: What a file is called until it takes its place. A power cut may leave one behind.
_SUFFIX = ".tmp"


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace a file: at each power cut there is the old one or the new one.

    Args:
        durable: False spares the flash where losing the newest bytes does no harm (a status page).
    """
    with replacing(path, mode=mode, durable=durable) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sweep(folder: Path) -> int:
    """Delete what a power cut left half written under a folder, and return how many files that were.

    Only before anything else writes there: a file that is being written is not told from one that was left.
    """
    left = [path for path in folder.rglob(f".*{_SUFFIX}") if path.is_file() and not path.is_symlink()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable: which names it holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable that another program wrote."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
