"""Downloads in blocks over MQTT: windowed requests, a digest per block, a bitmap of what is missing, resume.

A download that is cut off, by the link, by this device's power or by the registry's, goes on with the blocks that
are missing: the partial file and its bitmap lie on disk, and the bitmap never claims a block that a power cut
could still take.
"""

import hashlib
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_agent.disk import write_atomic
from edge_agent.errors import ResourceFinalError, TransferError
from protocols.blocks import MAX_WINDOW, Bitmap, BlockPlan, block_digest, blocks_of, wanted_blocks
from protocols.messages import Block, BlockRequest

FINAL = (404, 410)
#: Blocks that arrive between two writes of the bitmap.
_CHECKPOINT_BLOCKS = 32


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How downloads behave on a link.

    Attributes:
        block_bytes, window: size of a block, and how many may be on their way.
        patience_s: silence after which what is missing is asked for again; doubled each time, half of it random.
        tries: silences in a row after which the download fails, for now.
    """

    block_bytes: int = 65_536
    window: int = 16
    patience_s: float = 4.0
    longest_patience_s: float = 30.0
    tries: int = 6


class _Checkpoint(msgspec.Struct, frozen=True):
    """What lies beside a partial file."""

    resource: str
    size_bytes: int
    block_bytes: int
    bitmap: bytes


class BlockClient:
    """Fetches one resource at a time; the link's thread hands the blocks in with `arrived`.

    Args:
        send: publishes a request; must not block.
        folder: where partial files lie.
    """

    def __init__(
        self,
        send: Callable[[BlockRequest], None],
        folder: Path,
        limits: TransferLimits | None = None,
        *,
        jitter: Callable[[], float] = random.random,
        first_transfer: int = 1,
    ) -> None:
        self._send, self._folder, self._jitter = send, folder, jitter
        self.limits = limits or TransferLimits()
        self._inbox: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._number = first_transfer
        self._cancelled = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)

    def arrived(self, block: Block) -> None:
        """Take a block from the link; one of an older download is dropped where it is read."""
        self._inbox.put(block)

    def cancel(self) -> None:
        """Make the download in hand, and every later one, fail at once; what has arrived stays for the next start."""
        self._cancelled.set()
        self._inbox.put(None)

    def fetch(self, resource: str, limit_bytes: int) -> Path:
        """Download a resource and return its file, which is the caller's to `forget`.

        Raises:
            ResourceFinalError: the registry does not have it.
            TransferError: it did not arrive; another try goes on where this one stopped.
        """
        self._number += 1
        download = _Download(resource, limit_bytes, self._paths(resource), self.limits)
        try:
            self._collect(download)
        finally:
            download.close()
        return download.path

    def forget(self, resource: str) -> None:
        """Delete what is left of a download."""
        for path in self._paths(resource):
            path.unlink(missing_ok=True)

    def _paths(self, resource: str) -> tuple[Path, Path]:
        name = hashlib.sha256(resource.encode()).hexdigest()[:32]
        return self._folder / f"{name}.part", self._folder / f"{name}.blocks"

    def _collect(self, download: "_Download") -> None:
        silences = 0
        self._ask(download)
        until = time.monotonic() + self._patience(silences)
        while not download.complete:
            if self._cancelled.is_set():
                raise TransferError(download.resource, "the agent is stopping")
            block = self._next(download.resource, until)
            if block is None:
                silences += 1
                if silences >= self.limits.tries:
                    raise TransferError(download.resource, f"no answer from the registry in {silences} tries")
                download.outstanding.clear()
                self._ask(download)
                until = time.monotonic() + self._patience(silences)
            elif download.take(block):  # only what brings it on ends a silence, or useless blocks could go on for ever
                silences = 0
                until = time.monotonic() + self._patience(silences)
                if len(download.outstanding) <= self.limits.window // 2:
                    self._ask(download)

    def _next(self, resource: str, until: float) -> Block | None:
        """Return the next block of this download, or None when there was none until then."""
        while (left_s := until - time.monotonic()) > 0:
            try:
                block = self._inbox.get(timeout=left_s)
            except queue.Empty:
                return None
            if block is None:
                return None
            if block.transfer != self._number:
                continue
            if block.status == 200:
                return block
            if block.status in FINAL:
                raise ResourceFinalError(resource, block.status, block.reason or "the registry does not have it")
            # 503 and whatever comes later: not now. Silence from here on is what it amounts to.
        return None

    def _patience(self, silences: int) -> float:
        longest = min(self.limits.patience_s * 2.0**silences, self.limits.longest_patience_s)
        return longest * (0.5 + 0.5 * self._jitter())

    def _ask(self, download: "_Download") -> None:
        first, mask = download.wanted(self.limits.window)
        if mask:
            self._send(BlockRequest(self._number, download.resource, download.block_bytes, first, mask))


class _Download:
    """One resource on its way: partial file, bitmap, and which blocks have been asked for."""

    def __init__(self, resource: str, limit_bytes: int, paths: tuple[Path, Path], limits: TransferLimits) -> None:
        self.resource, self._limit = resource, limit_bytes
        self.path, self._beside = paths
        self.block_bytes = limits.block_bytes
        self.outstanding: set[int] = set()
        self._plan: BlockPlan | None = None
        self._bitmap: Bitmap | None = None
        self._unsaved = 0
        self._file: BinaryIO = self._resume()

    def _resume(self) -> BinaryIO:
        """Open the partial file and take up its bitmap, or begin anew."""
        try:
            saved = msgspec.msgpack.decode(self._beside.read_bytes(), type=_Checkpoint)
            plan = BlockPlan(saved.size_bytes, saved.block_bytes)
            bitmap = Bitmap(plan.count, saved.bitmap)
            if saved.resource == self.resource and self.path.stat().st_size == saved.size_bytes <= self._limit:
                self._plan, self._bitmap, self.block_bytes = plan, bitmap, saved.block_bytes
                return self.path.open("r+b")
        except (OSError, msgspec.DecodeError, ValueError):
            pass
        self._beside.unlink(missing_ok=True)
        return self.path.open("w+b")

    @property
    def complete(self) -> bool:
        return self._bitmap is not None and self._bitmap.complete

    def wanted(self, window: int) -> tuple[int, bytes]:
        """Return (first, mask) of what to ask for next, and count it as asked for."""
        if self._bitmap is None:  # nothing has arrived yet, so the size is not known: ask for the start of it
            first, mask = wanted_blocks(iter(range(min(window, MAX_WINDOW))), window)
        else:
            room = window - len(self.outstanding)
            if room <= 0:
                return 0, b""
            missing = (index for index in self._bitmap.missing() if index not in self.outstanding)
            first, mask = wanted_blocks(missing, room)
        self.outstanding.update(blocks_of(first, mask))
        return first, mask

    def take(self, block: Block) -> bool:
        """Store a block; return whether it was one that was missing and is sound.

        Raises:
            TransferError: the registry's idea of the size changed, or is above the limit.
        """
        plan = self._plan or self._begin(block.size_bytes)
        assert self._bitmap is not None  # noqa: S101 - made with the plan
        if block.size_bytes != plan.size_bytes:
            self._beside.unlink(missing_ok=True)
            raise TransferError(self.resource, f"its size changed from {plan.size_bytes} to {block.size_bytes} bytes")
        self.outstanding.discard(block.index)
        if block.index in self._bitmap or not 0 <= block.index < plan.count:
            return False
        offset, length = plan.span(block.index)
        if len(block.data) != length or block_digest(block.data) != block.digest:
            return False  # damaged on its way; it stays missing and is asked for again
        self._file.seek(offset)
        self._file.write(block.data)
        self._bitmap.add(block.index)
        self._unsaved += 1
        if self._unsaved >= _CHECKPOINT_BLOCKS:
            self._save()
        return True

    def _begin(self, size_bytes: int) -> BlockPlan:
        if not 0 <= size_bytes <= self._limit:
            raise TransferError(self.resource, f"it has {size_bytes} bytes, and at most {self._limit} are expected")
        self._plan = BlockPlan(size_bytes, self.block_bytes)
        self._bitmap = Bitmap(self._plan.count)
        self._file.truncate(size_bytes)
        self.outstanding = {index for index in self.outstanding if index < self._plan.count}
        return self._plan

    def _save(self) -> None:
        """Write the bitmap, after the blocks that it speaks of are safe."""
        if self._plan is None or self._bitmap is None or not self._unsaved:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        kept = _Checkpoint(self.resource, self._plan.size_bytes, self.block_bytes, bytes(self._bitmap))
        write_atomic(self._beside, msgspec.msgpack.encode(kept))
        self._unsaved = 0

    def close(self) -> None:
        """Close the file, keeping what has arrived."""
        if self._plan is not None and self._plan.count > 1:
            self._save()
        self._file.close()
