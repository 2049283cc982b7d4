"""Block arithmetic: which blocks a resource has, which are missing, which to ask for next. No I/O."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

DIGEST_BYTES = 16
#: Bounds of the block size that either side accepts, in bytes.
MIN_BLOCK, MAX_BLOCK = 256, 1024 * 1024
#: Most blocks that one request may ask for.
MAX_WINDOW = 512


def block_digest(data: bytes) -> bytes:
    """BLAKE2b-128 of one block: finds damage on the link. Authenticity is the signed metadata's affair."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


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

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self.count and bool(self._bits[index // 8] >> index % 8 & 1)

    def add(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise IndexError(f"block {index} of {self.count}")
        self._bits[index // 8] |= 1 << index % 8

    @property
    def arrived(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    @property
    def complete(self) -> bool:
        return self.arrived == self.count

    def missing(self, start: int = 0) -> Iterator[int]:
        """Yield the blocks still missing, from `start` on."""
        return (index for index in range(start, self.count) if index not in self)

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
