"""Blocks that many devices want at once, in memory of a fixed size: each is read and hashed once."""

import threading
from collections import OrderedDict
from typing import Protocol

from protocols.blocks import block_digest

LIMIT_BYTES = 32 * 1024 * 1024


class Readable(Protocol):
    """What can travel in blocks. `key` names bytes that never change; None: these may, or are in memory already."""

    @property
    def size(self) -> int: ...

    @property
    def key(self) -> str | None: ...

    def read(self, offset: int, length: int) -> bytes: ...


class BlockCache:
    """The blocks that were asked for last. Thread-safe."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._blocks: OrderedDict[tuple[str, int, int], tuple[bytes, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = self.reads = self.hits = 0

    def read(self, resource: Readable, offset: int, length: int) -> tuple[bytes, bytes]:
        """Return (data, digest) of a span."""
        if resource.key is None:
            data = resource.read(offset, length)
            return data, block_digest(data)
        key = (resource.key, offset, length)
        with self._lock:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
                self.hits += 1
                return found
        data = resource.read(offset, length)
        found = data, block_digest(data)
        with self._lock:
            self.reads += 1
            if key not in self._blocks:
                self._blocks[key] = found
                self.size_bytes += len(data)
            while self.size_bytes > self._limit:
                _, (oldest, _) = self._blocks.popitem(last=False)
                self.size_bytes -= len(oldest)
        return found
