"""Downloads in blocks over MQTT: windowed requests, a digest per block, a bitmap of what is missing, resume.

A download that is cut off, by the link, by this device's power or by the registry's, goes on with what is missing.
How much it asks for at once, and in blocks of which size, follows what the link carries (`edge_agent.pacing`).
"""

import itertools
import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.errors import ResourceFinalError, TransferError
from edge_agent.pacing import Bounds, after_round, after_silence, first_pace
from edge_agent.partial import Partial, PartialFolder
from protocols.blocks import block_digest, blocks_of, wanted_blocks
from protocols.messages import Block, BlockRequest
from protocols.names import ReleaseRef
from protocols.resources import release_of

log = logging.getLogger(__name__)

FINAL = (404, 410)


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How downloads behave on a link.

    Attributes:
        bounds: the largest block and the largest window.
        patience_s: silence after which what is missing is asked for again; doubled each time, half of it random.
        relink_patience_s: the same just after the link came back, when what was on its way may be lost.
        tries: silences in a row after which the download fails, for now.
    """

    bounds: Bounds = field(default_factory=Bounds)
    patience_s: float = 4.0
    relink_patience_s: float = 1.0
    longest_patience_s: float = 30.0
    tries: int = 6


class BlockClient:
    """Fetches one resource at a time; the link's thread hands the blocks in with `arrived`.

    `counts` says what came and was of no use: `damaged`, `duplicate`, `late` (of a download that is over),
    `misfit` (no such block, or not its length), `overrun` (more than was asked for).

    Args:
        send: publishes a request and returns whether there is a link; must not block.
        folder: where partial files lie.
        others_wait_s: what other messages on the link wait now, beyond what they do while it is idle.
    """

    def __init__(
        self,
        send: Callable[[BlockRequest], bool],
        folder: Path,
        limits: TransferLimits | None = None,
        *,
        jitter: Callable[[], float] = random.random,
        ticks: Callable[[], float] = time.monotonic,
        others_wait_s: Callable[[], float] = lambda: 0.0,
        first_transfer: int = 1,
    ) -> None:
        self._send, self._jitter, self._ticks, self._others_wait_s = send, jitter, ticks, others_wait_s
        self.limits = limits or TransferLimits()
        self.partials = PartialFolder(folder, ticks=ticks)
        self.pace = first_pace(self.limits.bounds)
        self.counts: Counter[str] = Counter()
        self._inbox: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._inbox_bytes = 0
        self._counting = threading.Lock()
        self._numbers = itertools.count(first_transfer)
        #: Transfer number -> block size, of the download in hand. Each size has a number of its own.
        self._transfers: dict[int, int] = {}
        self._resource = ""
        self._busy = False
        self._stopped, self._interrupted, self._relinked = threading.Event(), threading.Event(), threading.Event()

    def arrived(self, block: Block) -> None:
        """Take a block from the link. What was not asked for goes no further, so memory is bounded by the window."""
        if block.transfer not in self._transfers:
            self.counts["late"] += 1
            return
        with self._counting:
            if self._inbox_bytes > 2 * self.limits.bounds.window_bytes:
                self.counts["overrun"] += 1
                return
            self._inbox_bytes += len(block.data)
        self._inbox.put(block)

    def cancel(self) -> None:
        """Make the download in hand, and every later one, fail at once; what has arrived stays for the next start."""
        self._stopped.set()
        self._inbox.put(None)

    def interrupt(self) -> None:
        """Make downloads fail at once, until `proceed`: something else is wanted first."""
        self._interrupted.set()
        self._inbox.put(None)

    def proceed(self) -> None:
        """End an interruption."""
        self._interrupted.clear()

    def keep_only(self, releases: frozenset[ReleaseRef]) -> int:
        """Delete what is left of the downloads of all other releases; return how many."""
        return self.partials.collect(lambda resource: release_of(resource) in releases)

    def link_up(self) -> None:
        """The link is back: ask at once, and do not wait long for what may have been lost with it."""
        self._relinked.set()
        self._inbox.put(None)

    def fetch(self, resource: str, limit_bytes: int) -> Path:
        """Download a resource and return its file, which is the caller's to move away or to `forget`.

        Raises:
            ResourceFinalError: the registry does not have it.
            TransferError: it did not arrive; another try goes on where this one stopped.
        """
        if resource != self._resource:  # what is still on its way for another one is late
            self._resource, self._transfers = resource, {}
        download = _Download(self.partials.open(resource, limit_bytes))
        try:
            self._collect(download)
        except ResourceFinalError:
            self.forget(resource)  # there is nothing to go on with
            raise
        finally:
            download.partial.close()
        self._transfers = {}
        return download.partial.path

    def forget(self, resource: str) -> None:
        """Delete what is left of a download."""
        self.partials.forget(resource)

    def _collect(self, download: "_Download") -> None:
        silences = 0
        self._ask(download)
        until = self._ticks() + self._patience(silences, download)
        while not download.partial.complete:
            block = self._next(download.partial.resource, until)
            if block is not None:
                if not self._take(download, block):  # only what brings it on ends a silence
                    self._ask(download)
                    continue
                silences = 0
            elif self._relinked.is_set():
                self._relinked.clear()
                download.hurried = True
            else:
                silences += 1
                if silences >= self.limits.tries:
                    raise TransferError(download.partial.resource, f"no answer from the registry in {silences} tries")
                if not (download.hurried or self._busy):
                    self.pace = after_silence(self.pace, self.limits.bounds)
                download.hurried = self._busy = False
                download.lose_all()
            self._ask(download)
            until = self._ticks() + self._patience(silences, download)

    def _next(self, resource: str, until: float) -> Block | None:
        """Return the next block of this download, or None when there was none until then, or the link came back."""
        while True:
            if self._stopped.is_set():
                raise TransferError(resource, "the agent is stopping")
            if self._interrupted.is_set():
                raise TransferError(resource, "interrupted, something else is wanted first")
            left_s = until - self._ticks()
            if self._relinked.is_set() or left_s <= 0:
                return None
            try:
                block = self._inbox.get(timeout=left_s)
            except queue.Empty:
                return None
            if block is None:
                continue
            with self._counting:
                self._inbox_bytes -= len(block.data)
            if block.transfer not in self._transfers:
                self.counts["late"] += 1
            elif block.status == 200:
                return block
            elif block.status in FINAL:
                raise ResourceFinalError(resource, block.status, block.reason or "the registry does not have it")
            else:  # 503 and whatever comes later: not now, but perhaps soon; that is no silence of the link
                self._busy = True
                until = min(until, self._ticks() + self.limits.relink_patience_s * (0.5 + 0.5 * self._jitter()))

    def _patience(self, silences: int, download: "_Download") -> float:
        first_s = self.limits.relink_patience_s if download.hurried else self.limits.patience_s
        longest = min(max(first_s, 4 * download.delay_s) * 2.0**silences, self.limits.longest_patience_s)
        return longest * (0.5 + 0.5 * self._jitter())

    def _take(self, download: "_Download", block: Block) -> bool:
        """Keep a block; return whether it was one that was missing and is sound.

        Raises:
            TransferError: the registry's idea of the size changed, or is above the limit, or the disk is full.
        """
        partial, block_bytes = download.partial, self._transfers[block.transfer]
        if partial.size_bytes is None:
            partial.expect(block.size_bytes)
            download.trim()
        elif block.size_bytes != partial.size_bytes:
            partial.expect(block.size_bytes)
        span = partial.span(block.index, block_bytes)
        if span is None or len(block.data) != span[1]:
            self.counts["misfit"] += 1
            return False
        if partial.has(*span):
            self.counts["duplicate"] += 1
            return False
        round_trip = download.answered(span[0], block_bytes, self._ticks())
        if block_digest(block.data) != block.digest:
            self.counts["damaged"] += 1  # it stays missing and is asked for again
            return False
        partial.write(span[0], block.data)
        if round_trip is not None:
            self._adapt(download, round_trip)
        return True

    def _adapt(self, download: "_Download", asked: "_Asked") -> None:
        """Take a lesson from a request that was answered whole, once a round trip."""
        download.delay_s = asked.mean_delay_s
        if asked.number >= download.next_lesson:
            self.pace = after_round(
                self.pace, asked.mean_delay_s, self._others_wait_s(), self.limits.bounds, full=download.full
            )
            download.next_lesson = download.next_number

    def _ask(self, download: "_Download") -> None:
        """Ask for what is missing while there is room for a quarter of the window, in as few requests as it takes."""
        size = self.pace.block_bytes
        room = self.pace.window_bytes - download.on_their_way_bytes
        if room < max(size, self.pace.window_bytes // 4) or download.partial.complete:
            return
        missing = download.missing(size)
        for _ in range(4):
            first, mask = wanted_blocks(missing, room // size)
            if not mask or not self._send(BlockRequest(self._transfer(size), self._resource, size, first, mask)):
                break
            asked = blocks_of(first, mask)
            download.asked(self._transfer(size), asked, size, self._ticks())
            room -= len(asked) * size
            if room < size:
                break
            missing = download.missing(size)
        download.full = room < size

    def _transfer(self, block_bytes: int) -> int:
        for number, size in self._transfers.items():
            if size == block_bytes:
                return number
        number = next(self._numbers)
        self._transfers[number] = block_bytes
        return number


@dataclass(slots=True)
class _Asked:
    """One request: when it was made, and how many of its blocks are still waited for."""

    number: int
    transfer: int
    at_s: float
    waiting: int
    delays_s: list[float] = field(default_factory=list)

    @property
    def mean_delay_s(self) -> float:
        return sum(self.delays_s) / len(self.delays_s)


class _Download:
    """What of one resource has been asked for and is on its way."""

    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.next_number = self.next_lesson = 0
        self.delay_s = 0.0
        self.full = self.hurried = False
        self.on_their_way_bytes = 0
        #: (offset, block size) -> the request that it was asked for with; and how many there are of each size.
        self._on_their_way: dict[tuple[int, int], _Asked] = {}
        self._sizes: Counter[int] = Counter()
        self._newest: dict[int, int] = {}

    def missing(self, block_bytes: int) -> Iterator[int]:
        """Yield the blocks that are missing and not on their way."""
        for block in self.partial.missing_blocks(block_bytes):
            if not self._coming(block * block_bytes, block_bytes):
                yield block

    def _coming(self, offset: int, block_bytes: int) -> bool:
        """Whether a block, or one of another size that shares bytes with it, is on its way."""
        for size, count in self._sizes.items():
            inside = range(offset // size * size, offset + block_bytes, size)
            if count and any((start, size) in self._on_their_way for start in inside):
                return True
        return False

    def asked(self, transfer: int, blocks: list[int], block_bytes: int, now_s: float) -> None:
        asked = _Asked(self.next_number, transfer, now_s, len(blocks))
        self.next_number += 1
        self._on_their_way.update({(block * block_bytes, block_bytes): asked for block in blocks})
        self._sizes[block_bytes] += len(blocks)
        self.on_their_way_bytes += len(blocks) * block_bytes

    def answered(self, offset: int, block_bytes: int, now_s: float) -> _Asked | None:
        """Note that a block arrived, sound or not; return its request where that is answered whole now."""
        asked = self._lose((offset, block_bytes))
        if asked is None:
            return None
        asked.delays_s.append(now_s - asked.at_s)
        if asked.number > self._newest.get(asked.transfer, -1):
            self._newest[asked.transfer] = asked.number
            # They come in the order in which they were asked for: those of requests long before are lost.
            self._lose_if(lambda _, other: other.transfer == asked.transfer and other.number < asked.number - 1)
        return asked if asked.waiting == 0 else None

    def lose_all(self) -> None:
        """Take everything that is on its way for lost."""
        self._lose_if(lambda *_: True)

    def trim(self) -> None:
        """Forget what was asked for beyond the end, now that it is known."""
        end = max(1, self.partial.size_bytes or 0)
        self._lose_if(lambda offset, _: offset >= end)

    def _lose_if(self, lost: Callable[[int, _Asked], bool]) -> None:
        for key in [key for key, asked in self._on_their_way.items() if lost(key[0], asked)]:
            self._lose(key)

    def _lose(self, key: tuple[int, int]) -> _Asked | None:
        asked = self._on_their_way.pop(key, None)
        if asked is not None:
            asked.waiting -= 1
            self._sizes[key[1]] -= 1
            self.on_their_way_bytes -= key[1]
        return asked
