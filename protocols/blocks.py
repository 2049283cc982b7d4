"""Block arithmetic: which blocks a resource has, which are missing, which to ask for next. No I/O."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

DIGEST_BYTES = 16
#: Bounds of the block size that either side accepts, in bytes.
MIN_BLOCK, MAX_BLOCK = 256, 1024 * 1024
#: What a device keeps account of. Blocks of this size times a power of two begin and end where units do, so a
#: download may change the size of its blocks and keep what has arrived.
UNIT_BYTES = 4096
#: Most blocks that one request may ask for.
MAX_WINDOW = 512


def block_digest(data: bytes) -> bytes:
    """SHA-256 of one block, its first 16 bytes: finds damage on the link. Most processors have an instruction for it.

    Authenticity is the signed metadata's affair.
    """
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How a resource of `size_bytes` divides into blocks. An empty resource has one empty block."""

    size_bytes: int
    block_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or not MIN_BLOCK <= self.block_bytes <= MAX_BLOCK:
            raise ValueError(f"no plan for {self.size_bytes} bytes in blocks of {self.block_bytes}")

    @property
    def count(self) -> int:
        return max(1, -(-self.size_bytes // self.block_bytes))

    def span(self, index: int) -> tuple[int, int]:
        """Return (offset, length) of a block, in bytes.

        Raises:
            IndexError: there is no such block.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"block {index} of {self.count}")
        offset = index * self.block_bytes
        return offset, min(self.block_bytes, self.size_bytes - offset)


class Bitmap:
    """Which blocks have arrived. Its bytes are what is kept beside a partial file: bit i of byte i // 8."""

    def __init__(self, count: int, data: bytes | None = None) -> None:
        if data is not None and len(data) != (count + 7) // 8:
            raise ValueError(f"a bitmap of {count} blocks has {(count + 7) // 8} bytes, not {len(data)}")
        self.count = count
        self._bits = bytearray(data) if data is not None else bytearray((count + 7) // 8)
        if data is not None and count % 8:
            self._bits[-1] &= (1 << count % 8) - 1
        self.arrived = int.from_bytes(self._bits, "little").bit_count()
        self._first = 0  # everything below has arrived, so a large file is not searched from its start each time

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self.count and bool(self._bits[index // 8] >> index % 8 & 1)

    def add(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise IndexError(f"block {index} of {self.count}")
        if index not in self:
            self._bits[index // 8] |= 1 << index % 8
            self.arrived += 1

    def has_all(self, span: range) -> bool:
        """Whether every block of a span has arrived."""
        mask = (1 << len(span)) - 1
        bits = int.from_bytes(self._bits[span.start // 8 : (span.stop + 7) // 8], "little")
        return span.stop <= self.count and bits >> span.start % 8 & mask == mask

    def add_all(self, span: range) -> None:
        """Note that every block of a span has arrived."""
        if not 0 <= span.start <= span.stop <= self.count:
            raise IndexError(f"blocks {span.start} to {span.stop} of {self.count}")
        place = slice(span.start // 8, (span.stop + 7) // 8)
        before = int.from_bytes(self._bits[place], "little")
        after = before | ((1 << len(span)) - 1) << span.start % 8
        self._bits[place] = after.to_bytes(len(self._bits[place]), "little")
        self.arrived += after.bit_count() - before.bit_count()

    @property
    def complete(self) -> bool:
        return self.arrived == self.count

    def next_missing(self, start: int = 0) -> int | None:
        """Return the first block from `start` on that is still missing."""
        index = max(start, self._first)
        from_first = index == self._first
        while index < self.count:
            absent = ~self._bits[index // 8] & 0xFF & (0xFF << index % 8)
            if absent:
                index = index // 8 * 8 + (absent & -absent).bit_length() - 1
                break
            index = (index // 8 + 1) * 8
        if from_first:
            self._first = min(index, self.count)
        return index if index < self.count else None

    def missing(self, start: int = 0) -> Iterator[int]:
        """Yield the blocks still missing, from `start` on."""
        index = self.next_missing(start)
        while index is not None:
            yield index
            index = self.next_missing(index + 1)

    def __bytes__(self) -> bytes:
        return bytes(self._bits)


def wanted_blocks(missing: Iterator[int], window: int) -> tuple[int, bytes]:
    """Return (first, mask) of the next request: block first + i is wanted where bit i of mask is set.

    The request spans at most `window` blocks; mask is b"" when nothing is missing.
    """
    first = next(missing, None)
    if first is None:
        return 0, b""
    window = min(window, MAX_WINDOW)
    bits = 1
    for index in missing:
        if index >= first + window:
            break
        bits |= 1 << (index - first)
    return first, bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def blocks_of(first: int, mask: bytes) -> list[int]:
    """Return the blocks that a request asks for, ascending; at most MAX_WINDOW of them."""
    bits = int.from_bytes(mask[: MAX_WINDOW // 8], "little")
    return [first + index for index in range(bits.bit_length()) if bits >> index & 1]
