"""Images of sensor messages: what is taken for one, its pixels as a graph takes them, its figures for monitoring.

Pillow does the decoding, by its JPEG and PNG decoders alone. It is imported when the first image comes, so that a
device without a camera never loads it.
"""

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.errors import ImageRefusedError
from protocols.feeding import Image
from protocols.payloads import begins

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Array = np.ndarray[Any, Any]

#: A larger file is no image of ours.
IMAGE_LIMIT_BYTES = 8 * 1024 * 1024
#: What an image may unfold to, by its own header: 25 million pixels are more than a line's camera has, and take 100 MB
#: of memory while they are decoded, up to 300 MB with transparency, 16 bits, or scan after scan (a progressive JPEG).
#: A decompression bomb promises more.
PIXEL_LIMIT = 25_000_000
#: Neither side may be longer. Pillow keeps a pointer for each row, and lays out short rows generously: one column of 25
#: million pixels would take a gigabyte.
SIDE_LIMIT = 20_000

#: A JPEG may go over its pixels so many times. A progressive one has about ten scans; each takes time, and a few bytes.
SCAN_LIMIT = 50
#: So many parts may precede a JPEG's pixels. A camera's has about ten, and one with 8 MB of data beside its pixels 130;
#: what Pillow does with many takes time that grows with their square.
SEGMENT_LIMIT = 200

_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"RIFF": "a WebP or another RIFF file",
    b"%PDF": "a PDF",
    b"{": "JSON; to read the image out of it, bind its path: --input image=PATH",
}
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[\xc0-\xfe]")
#: Markers of JPEG that no length follows.
_BARE = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
#: EXIF's orientation -> the transposition that makes the image upright, by its name in Pillow.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def read_pixels(data: bytes, image: Image) -> Array:
    """Decode an image and bring it to the size and colours that a graph takes.

    It is turned upright as its EXIF data say, transparency is left out, 16 bits become 8.

    Returns:
        uint8, shape (height, width, channels), channels in the order of `image.colours`.

    Raises:
        ImageRefusedError: it is no JPEG or PNG, too large, or damaged.
    """
    form = _form(data)
    if len(data) > IMAGE_LIMIT_BYTES:
        raise ImageRefusedError("too-large", f"an image of {len(data)} bytes, and {IMAGE_LIMIT_BYTES} are allowed")
    if form == "JPEG":
        _check_parts(data)
    try:
        with _opened(form, data) as picture:
            width, height = picture.size
            if width * height <= PIXEL_LIMIT and max(width, height) <= SIDE_LIMIT:
                return _pixels(picture, image)
    except Exception as error:  # Pillow's decoders share no root but Exception
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageRefusedError("broken-image", f"a {form} that cannot be decoded: {reason}") from error
    raise ImageRefusedError(
        "too-large",
        f"a {form} that unfolds to {width} x {height} pixels, and {PIXEL_LIMIT} are allowed, {SIDE_LIMIT} on a side",
    )


def to_tensor(pixels: Array, image: Image) -> Array:
    """Return pixels (..., height, width, channels) as the graph takes them, float32."""
    planes = image.layout == "NCHW"
    by_channel = (-1, 1, 1) if planes else (-1,)
    values = np.ascontiguousarray(np.moveaxis(pixels, -1, -3) if planes else pixels).astype(np.float32)
    values *= np.float32(image.scale)
    if image.mean:
        values -= np.array(image.mean, dtype=np.float32).reshape(by_channel)
    if image.deviation:
        values /= np.array(image.deviation, dtype=np.float32).reshape(by_channel)
    return values


def figures(pixels: Array, image: Image) -> tuple[float, float, float]:
    """Return what monitoring follows of one image's pixels: brightness, contrast, sharpness.

    Brightness is the mean of the grey levels (0 to 255) and contrast their standard deviation; sharpness is the
    standard deviation of the Laplacian, which falls as focus is lost.
    """
    grey = _grey(pixels, image)
    inner = grey[1:-1, 1:-1]
    edges = 4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(grey.mean()), float(grey.std()), float(edges.std()) if edges.size else 0.0


def _grey(pixels: Array, image: Image) -> Array:
    if image.colours == "L":
        return pixels[..., 0].astype(np.float32)
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
    grey: Array = pixels.astype(np.float32) @ (weights if image.colours == "RGB" else weights[::-1])
    return grey


def _form(data: bytes) -> str:
    form = next((form for magic, form in _MAGIC.items() if data.startswith(magic)), None)
    if form is None:
        found = next((f"it is {name}" for magic, name in _OTHERS.items() if data.startswith(magic)), begins(data, 16))
        raise ImageRefusedError("not-an-image", f"no JPEG or PNG: {found}" if data else "no image: it is empty")
    return form


def _check_parts(data: bytes) -> None:
    """Refuse a JPEG that would take long because of how many parts it has."""
    scans = data.count(_SCAN)  # what is in a scan holds no marker, so this counts no less
    if scans > SCAN_LIMIT:
        raise ImageRefusedError("too-large", f"a JPEG of {scans} scans, and {SCAN_LIMIT} are allowed")
    if _segments(data) > SEGMENT_LIMIT:
        text = f"a JPEG with more than {SEGMENT_LIMIT} parts before its pixels, which are as many as are allowed"
        raise ImageRefusedError("too-large", text)


def _segments(data: bytes) -> int:
    """Return how many markers Pillow meets before it comes to the pixels, or one more than are allowed."""
    place = 2
    for count in range(SEGMENT_LIMIT + 1):
        found = _MARKER.search(data, place)
        if found is None or found[0] == _SCAN:
            return count
        place = found.end()
        if data[place - 1] not in _BARE:
            place += max(2, int.from_bytes(data[place : place + 2]))
    return SEGMENT_LIMIT + 1


def _opened(form: str, data: bytes) -> "Picture":
    """Open by one decoder: Pillow's own `open` would try all that it has."""
    if form == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(io.BytesIO(data))
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(io.BytesIO(data))


def _pixels(picture: "Picture", image: Image) -> Array:
    picture.load()
    upright = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    plain = _eight_bits(picture)
    if upright is not None:
        from PIL.Image import Transpose

        plain = plain.transpose(Transpose[upright])
    mode = "L" if image.colours == "L" else "RGB"
    pixels = np.asarray(_sized(plain if plain.mode == mode else plain.convert(mode), image))  # a copy takes memory
    if image.colours == "L":
        return pixels[:, :, None]
    return pixels[:, :, ::-1] if image.colours == "BGR" else pixels


def _eight_bits(picture: "Picture") -> "Picture":
    """Pillow clips 16 bits when it converts them; the upper eight are the picture. Transparency becomes a channel."""
    if not picture.mode.startswith("I"):
        return picture.convert("RGBA") if "transparency" in picture.info else picture
    from PIL.Image import fromarray

    return fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))


def _sized(picture: "Picture", image: Image) -> "Picture":
    from PIL.Image import Resampling, new

    size, whole = (image.width, image.height), picture.size
    if whole == size:
        return picture
    if image.resize == "stretch":
        return picture.resize(size, Resampling.BILINEAR)
    shares = (size[0] / whole[0], size[1] / whole[1])
    if image.resize == "crop":
        share = max(shares)
        width, height = size[0] / share, size[1] / share
        left, top = (whole[0] - width) / 2, (whole[1] - height) / 2
        return picture.resize(size, Resampling.BILINEAR, (left, top, left + width, top + height))
    share = min(shares)
    inner = (max(1, round(whole[0] * share)), max(1, round(whole[1] * share)))
    framed = new(picture.mode, size)
    framed.paste(picture.resize(inner, Resampling.BILINEAR), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return framed
