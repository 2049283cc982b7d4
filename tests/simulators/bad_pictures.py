"""Pictures that would take a device's memory or time, in few bytes."""

import io
import struct
import zlib

from PIL import Image as Pictures


def _png(
    width: int, height: int, *chunks: tuple[bytes, bytes], colour: int = 2, pixels: bytes = zlib.compress(bytes(2000))
) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    middle = b"".join(chunk(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a hundred bytes whose header promises that many pixels."""
    return _png(width, height)


def thread(length: int = 24_999_999, *, lying: bool = False) -> bytes:
    """A small, whole PNG of few enough pixels, all in one column or one row, with transparency."""
    width, height = (length, 1) if lying else (1, length)
    squeeze = zlib.compressobj(9)
    row = bytes(1 + 4 * width)
    pixels = b"".join(squeeze.compress(row * (height // 100)) for _ in range(100))
    pixels += squeeze.compress(row * (height % 100)) + squeeze.flush()
    return _png(width, height, colour=6, pixels=pixels)


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


def crumbled_jpeg(segments: int = 400_000, side: int = 8) -> bytes:
    """A tiny JPEG whose EXIF data come in crumbs, each put behind all before it: most of a minute in 8 MB."""
    file = io.BytesIO()
    Pictures.new("L", (side, side), 128).save(file, "JPEG")
    data = file.getvalue()
    crumb = b"Exif\0\0" + bytes(10)
    return data[:2] + (b"\xff\xe1" + struct.pack(">H", 2 + len(crumb)) + crumb) * segments + data[2:]
