"""Downloads that are not complete yet: a file of the final size, and beside it a bitmap of what has arrived.

The bitmap on disk never claims bytes that a power cut could still take: the file is made durable first. So a
download goes on where it was after any restart, and what it lost is at most what arrived since the last checkpoint.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edge_agent.disk import write_atomic
from edge_agent.errors import TransferError
from protocols.blocks import UNIT_BYTES, Bitmap

#: Least time between two checkpoints: each costs a card three writes.
CHECKPOINT_S = 1.0
#: Left free on the disk by downloads, for the outbox, the state and the log; metadata, which is small, may use it.
RESERVE_BYTES = 16 * 1024 * 1024
_SMALL_BYTES = 64 * 1024


class _Checkpoint(msgspec.Struct, frozen=True):
    """What lies beside a partial file. One bit of `arrived` is one unit."""

    resource: str
    size_bytes: int
    arrived: bytes
    unit_bytes: int = UNIT_BYTES


class PartialFolder:
    """Where the partial files lie; one per resource."""

    def __init__(self, folder: Path, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._ticks = folder, ticks
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, resource: str, limit_bytes: int) -> "Partial":
        """Take up a download, or begin it."""
        return Partial(resource, limit_bytes, *self._paths(resource), self._ticks)

    def forget(self, resource: str) -> None:
        """Delete what is left of a download."""
        for path in self._paths(resource):
            path.unlink(missing_ok=True)

    def collect(self, wanted: Callable[[str], bool]) -> int:
        """Delete the downloads of resources that nobody wants any more, and what cannot be read; return how many."""
        kept = set()
        for beside in self._folder.glob("*.blocks"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                if wanted(msgspec.msgpack.decode(beside.read_bytes(), type=_Checkpoint).resource):
                    kept.add(beside.stem)
        gone = [path for path in self._folder.iterdir() if path.stem not in kept]
        for path in gone:
            path.unlink(missing_ok=True)
        return len({path.stem for path in gone})

    def _paths(self, resource: str) -> tuple[Path, Path]:
        name = hashlib.sha256(resource.encode()).hexdigest()[:32]
        return self._folder / f"{name}.part", self._folder / f"{name}.blocks"


class Partial:
    """One resource on its way. Not thread-safe."""

    def __init__(
        self, resource: str, limit_bytes: int, path: Path, beside: Path, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self.resource, self.path = resource, path
        self.size_bytes: int | None = None
        self._limit, self._beside, self._ticks = limit_bytes, beside, ticks
        self._bitmap: Bitmap | None = None
        self._unsaved, self._saved_at = False, ticks()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._resume():
            beside.unlink(missing_ok=True)
            os.ftruncate(self._file, 0)

    def _resume(self) -> bool:
        """Take up the bitmap where it is this resource's and the file is what it speaks of."""
        try:
            saved = msgspec.msgpack.decode(self._beside.read_bytes(), type=_Checkpoint)
            mine = (saved.resource, saved.unit_bytes) == (self.resource, UNIT_BYTES)
            if not mine or not os.fstat(self._file).st_size == saved.size_bytes <= self._limit:
                return False
            self._bitmap = Bitmap(_units(0, saved.size_bytes).stop, saved.arrived)
        except (OSError, msgspec.DecodeError, ValueError):
            return False
        self.size_bytes = saved.size_bytes
        return True

    @property
    def complete(self) -> bool:
        return self._bitmap is not None and self._bitmap.complete

    @property
    def arrived_bytes(self) -> int:
        """What has arrived; the last unit counts as a whole one."""
        return self._bitmap.arrived * UNIT_BYTES if self._bitmap is not None else 0

    def expect(self, size_bytes: int) -> None:
        """Learn the size, and take that much of the disk; nothing where it is known.

        Raises:
            TransferError: it is above the limit, it is another size than before, or the disk is too full.
        """
        if self._bitmap is not None:
            if size_bytes != self.size_bytes:
                self._beside.unlink(missing_ok=True)
                raise TransferError(
                    self.resource, f"its size changed from {self.size_bytes} to {size_bytes} bytes; fetched anew"
                )
            return
        if not 0 <= size_bytes <= self._limit:
            raise TransferError(self.resource, f"it has {size_bytes} bytes, and at most {self._limit} are expected")
        self._take_room(size_bytes)
        self.size_bytes, self._bitmap = size_bytes, Bitmap(_units(0, size_bytes).stop)

    def _take_room(self, size_bytes: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if size_bytes > _SMALL_BYTES and free < size_bytes + RESERVE_BYTES:
            raise TransferError(
                self.resource,
                f"the disk is full: {free >> 20} MiB are free, and it needs {size_bytes >> 20} and a reserve of "
                f"{RESERVE_BYTES >> 20}; make room",
            )
        try:
            if size_bytes:
                os.posix_fallocate(self._file, 0, size_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                os.ftruncate(self._file, 0)
                raise TransferError(self.resource, f"the disk is full: {error.strerror}") from error
            os.ftruncate(self._file, size_bytes)

    def span(self, block: int, block_bytes: int) -> tuple[int, int] | None:
        """Return (offset, length) of a block, or None where the resource has none of that number."""
        offset = block * block_bytes
        if self.size_bytes is None or block < 0 or offset >= max(1, self.size_bytes):
            return None
        return offset, min(block_bytes, self.size_bytes - offset)

    def missing_blocks(self, block_bytes: int) -> Iterator[int]:
        """Yield the blocks of a size that have not arrived, or not wholly; all that there may be before it is known."""
        per_block = block_bytes // UNIT_BYTES
        if self._bitmap is None:
            yield from range(-(-self._limit // block_bytes) or 1)
            return
        unit = self._bitmap.next_missing()
        while unit is not None:
            yield unit // per_block
            unit = self._bitmap.next_missing((unit // per_block + 1) * per_block)

    def has(self, offset: int, length: int) -> bool:
        """Whether every byte of a span has arrived."""
        return self._bitmap is not None and self._bitmap.has_all(_units(offset, length))

    def write(self, offset: int, data: bytes) -> None:
        """Keep a span that begins where a unit does, and ends where one does or with the resource."""
        assert self._bitmap is not None  # noqa: S101 - its size was said first
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset + len(data) - len(view))
            view = view[written:]
        self._bitmap.add_all(_units(offset, len(data)))
        self._unsaved = True
        if self._ticks() - self._saved_at >= CHECKPOINT_S:
            self.save()

    def save(self) -> None:
        """Write the bitmap, after the bytes that it speaks of are safe."""
        if self._bitmap is None or not self._unsaved:
            return
        os.fdatasync(self._file)
        kept = _Checkpoint(self.resource, self.size_bytes or 0, bytes(self._bitmap))
        write_atomic(self._beside, msgspec.msgpack.encode(kept))
        self._unsaved, self._saved_at = False, self._ticks()

    def close(self) -> None:
        """Close the file, keeping what has arrived; of nothing there is no file."""
        try:
            if not self.arrived_bytes:
                self.path.unlink(missing_ok=True)
            elif not self.complete:
                self.save()
        finally:
            os.close(self._file)


def _units(offset: int, length: int) -> range:
    """Return the units that a span covers; an empty resource has one."""
    return range(offset // UNIT_BYTES, max(offset + length - 1, offset) // UNIT_BYTES + 1)
