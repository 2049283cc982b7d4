"""What an air-gapped device recorded, on its way home on a stick, and the registry's acknowledgement on its way back.

Both travel as DSSE envelopes (JSON): signed by the device's key, and by the director's online key.
"""

from typing import Literal, TypeVar

import msgspec

from protocols.errors import MessageRefusedError, UnknownVersionError

RETURN_TYPE = "application/vnd.genba.return+msgpack"
RECEIPT_TYPE = "application/vnd.genba.receipt+msgpack"
RETURN_VERSION = 1
#: No envelope is larger; a device closes one well before.
RETURN_LIMIT_BYTES = 8 * 1024 * 1024


class ReturnedMessage(msgspec.Struct, frozen=True):
    """One message, byte for byte as it would go over MQTT."""

    channel: Literal["event", "telemetry"]
    payload: bytes


class Returned(msgspec.Struct, frozen=True):
    """Part of a device's outbox."""

    site: str
    device: str
    messages: tuple[ReturnedMessage, ...]
    v: int = RETURN_VERSION


class Receipt(msgspec.Struct, frozen=True):
    """Which messages of a device the registry has: the device may forget them."""

    device: str
    ids: tuple[int, ...]
    v: int = RETURN_VERSION


T = TypeVar("T", Returned, Receipt)


def encode_signed(value: Returned | Receipt) -> bytes:
    """Return the bytes that are signed."""
    return msgspec.msgpack.encode(value)


def decode_signed(kind: type[T], data: bytes) -> T:
    """Read what was signed.

    Raises:
        MessageRefusedError, UnknownVersionError: it is not a `kind` that we speak.
    """
    try:
        value = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRefusedError(kind.__name__, str(error)) from error
    if value.v != RETURN_VERSION:
        raise UnknownVersionError(kind.__name__, value.v, RETURN_VERSION)
    return value
