"""Protobuf's wire format, as far as an ONNX file uses it: fields of a message, without copying what they hold.

Written by hand, since a device has no `onnx` package, and whoever judges a file should not need to trust it first.

Source: protobuf.dev, "Encoding"; onnx/onnx.proto.
"""

import functools
import re
from collections.abc import Iterator

from protocols.errors import OnnxRefusedError

#: No number of the format is longer.
_LONGEST_VARINT = 10


def fields(message: memoryview, *, brief: bool = False) -> Iterator[tuple[int, "int | memoryview"]]:
    """Yield (number, value) of each field: an int, or the bytes of what has a length or a fixed width.

    Args:
        brief: of numbers that follow one another under one tag, yield the first alone; a tree's attributes hold
            millions of them.

    Raises:
        OnnxRefusedError: the bytes end within a field, or begin one of no kind that there is.
    """
    position, end = 0, len(message)
    while position < end:
        begun = position
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
        elif kind in _WIDTHS or kind == 2:
            size = _WIDTHS.get(kind, 0)
            if kind == 2:
                size, position = _varint(message, position)
            if size > end - position:
                raise OnnxRefusedError("it is cut short: a part of it ends beyond its end")
            yield number, message[position : position + size]
            position += size
        else:
            raise OnnxRefusedError("it is not an ONNX model: its bytes are not in the form of one")
        if brief and kind in (0, 5) and tag < 0x80:
            run = _run(tag).match(message, begun)  # none where the tag is written longer than it need be
            position = run.end() if run else position


#: Fixed widths by kind of field.
_WIDTHS = {1: 8, 5: 4}


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    cut = len(message) - position < _LONGEST_VARINT
    raise OnnxRefusedError(
        "it is cut short in the middle of a number" if cut else "it is not an ONNX model: a number in it has no end"
    )


def signed(value: int) -> int:
    """Read a number as int64, which is how dimensions travel."""
    return value - (1 << 64) if value >= 1 << 63 else value


def numbers(packed: "int | memoryview") -> list[int]:
    """Return repeated int64, which come one by one or packed."""
    if isinstance(packed, int):
        return [signed(packed)]
    found, position = [], 0
    while position < len(packed):
        value, position = _varint(packed, position)
        found.append(signed(value))
    return found


@functools.cache
def _run(tag: int) -> re.Pattern[bytes]:
    """Match fields of this tag, one after another. Possessive, so that it keeps no way back through millions."""
    value = rb"[\x80-\xff]{0,9}[\x00-\x7f]" if tag & 7 == 0 else rb".{4}"
    return re.compile(rb"(?:" + re.escape(bytes([tag])) + value + rb")++", re.DOTALL)
