"""Patches between releases' files: made once, in a process of their own, kept by the digests of both ends.

`python -m registry.patches BASE FILE OUT` is that process: what Zstandard needs of memory goes with it.
"""

import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from protocols.patches import LEAST_FILE_BYTES, make_patch, patch_limit
from registry.blobs import Blobs
from registry.errors import ResourceMissingError, ResourceNotReadyError
from registry.processes import die_with_parent

log = logging.getLogger(__name__)

#: Both ends of a patch together: more would take too much memory here.
MOST_BYTES = 1024 * 1024 * 1024
#: What patches may take on disk; the ones that were wanted least lately go first.
KEPT_BYTES = 2 * 1024 * 1024 * 1024
_MAKING_S = 600.0
_CHUNK_BYTES = 1024 * 1024


class Patches:
    """HOME/patches/<base>.<target>: a patch, or an empty file where it would not be worth while. Thread-safe."""

    def __init__(self, home: Path) -> None:
        self._folder, self._blobs = home / "patches", Blobs(home)
        self._lock = threading.Lock()
        self._making: set[str] = set()

    def open(self, resource: str, base: str, target: str) -> Path:
        """Return the patch's file.

        Raises:
            ResourceMissingError: there is none that is worth while.
            ResourceNotReadyError: it is being made; ask again soon.
        """
        try:
            base_path, target_path = self._blobs.path(base), self._blobs.path(target)
        except FileNotFoundError as error:
            raise ResourceMissingError(resource) from error
        path = self._folder / f"{base}.{target}"
        if path.exists():
            if path.stat().st_size == 0:
                raise ResourceMissingError(resource)
            os.utime(path)
            return path
        size, both = target_path.stat().st_size, target_path.stat().st_size + base_path.stat().st_size
        if size < LEAST_FILE_BYTES or both > MOST_BYTES:
            raise ResourceMissingError(resource)
        self._start(path, base_path, target_path)
        raise ResourceNotReadyError(resource)

    def _start(self, path: Path, base: Path, target: Path) -> None:
        """Make one patch at a time; whoever asks for another meanwhile asks again."""
        with self._lock:
            if self._making:
                return
            self._making.add(path.name)
        threading.Thread(target=self._make, args=(path, base, target), name="patch", daemon=True).start()

    def _make(self, path: Path, base: Path, target: Path) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            # The web process may want the same, and for each request it is another who asks: none of them waits.
            with FileLock(self._folder / ".lock", timeout=0):
                if not path.exists():
                    self._run(path, base, target)
                    self._make_room()
        except Timeout:
            log.debug("another patch is being made")
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("a patch could not be made: %s", error)
        finally:
            with self._lock:
                self._making.discard(path.name)

    def _run(self, path: Path, base: Path, target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".making-") as name:
            made = Path(name) / "patch"
            command = [sys.executable, "-m", "registry.patches", str(base), str(target), str(made)]
            done = subprocess.run(command, timeout=_MAKING_S, stderr=subprocess.PIPE, check=False, text=True)
            if done.returncode:
                log.warning("a patch could not be made: %s", done.stderr.strip()[-300:])
                made.write_bytes(b"")  # not tried again
            size, whole = made.stat().st_size, target.stat().st_size
            if size > patch_limit(whole):
                made.write_bytes(b"")
            made.replace(path)
            log.info("patch made", extra={"bytes": size, "whole": whole})

    def _make_room(self) -> None:
        kept = 0
        patches = [(path, path.stat()) for path in self._folder.iterdir() if path.is_file()]
        for path, facts in sorted(patches, key=lambda each: -each[1].st_mtime):
            kept += facts.st_size
            if kept > KEPT_BYTES and not path.name.startswith("."):
                path.unlink(missing_ok=True)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def main(base: str, target: str, out: str) -> None:
    """Write one patch; end early where it will not be worth while."""
    die_with_parent()
    os.nice(10)
    size, limit = Path(target).stat().st_size, patch_limit(Path(target).stat().st_size)
    with Path(out).open("wb") as file:
        for piece in make_patch(Path(base).read_bytes(), _chunks(Path(target)), size):
            if file.write(piece) and file.tell() > limit:
                return
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
