"""Messages on the wire: round trips, and how an old and a new side understand each other."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MessageRefusedError, ProtocolError, UnknownVersionError
from protocols.messages import (
    DOWN,
    MESSAGE_LIMIT_BYTES,
    UP,
    Ack,
    Block,
    BlockRequest,
    Event,
    Message,
    Status,
    decode,
    encode,
)
from protocols.topics import DOWN_CHANNELS, UP_CHANNELS

KINDS = get_args(Message)


@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_encoded_is_decoded(kind, structs, data):
    message = data.draw(structs(kind))
    assert decode(kind, encode(message)) == message


@given(st.binary(max_size=200))
@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_are_a_message_or_refused(kind, data):
    try:
        message = decode(kind, data)
    except MessageRefusedError as error:
        assert kind.__name__ in str(error)
        assert "\n" not in str(error)
    else:
        assert isinstance(message, kind)


@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_cut_short_is_refused(kind, structs, data):
    wire = encode(data.draw(structs(kind)))
    cut = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(MessageRefusedError):
        decode(kind, wire[:cut])


@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_a_newer_side_are_ignored(kind, structs, data):
    message = data.draw(structs(kind))
    fields = msgspec.msgpack.decode(encode(message)) | {"a_field_of_tomorrow": {"deep": [1, b"2", None]}}
    assert decode(kind, msgspec.msgpack.encode(fields)) == message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [2, 255, 2**40])
def test_a_higher_version_is_refused_whatever_else_the_message_holds(kind, version):
    with pytest.raises(UnknownVersionError, match="update Genba on this side") as caught:
        decode(kind, msgspec.msgpack.encode({"v": version, "fields": "of another time"}))
    assert caught.value.version == version


@pytest.mark.parametrize(
    ("kind", "first_release"),
    [
        (Status, {"at": 1.0, "online": True, "v": 1}),
        (Event, {"id": 1, "at": 1.0, "kind": "started", "level": "info", "text": "up", "v": 1}),
        (BlockRequest, {"transfer": 1, "resource": "r", "block_bytes": 1024, "first": 0, "mask": b"\x01", "v": 1}),
        (Block, {"transfer": 1, "v": 1}),
        (Ack, {"ids": [1], "v": 1}),
    ],
)
def test_what_the_first_release_must_send_is_enough_for_ever(kind, first_release):
    """Fields that came later have defaults; a required one more would break every device in the field."""
    assert isinstance(decode(kind, msgspec.msgpack.encode(first_release)), kind)


def test_defaults_do_not_travel():
    assert msgspec.msgpack.decode(encode(Block(transfer=7))) == {"transfer": 7}


@pytest.mark.parametrize(("field", "value"), [("transfer", "seven"), ("mask", "text"), ("first", 1.5), ("mask", None)])
def test_a_wrong_type_is_refused_by_its_field(field, value):
    fields = {"transfer": 1, "resource": "r", "block_bytes": 1024, "first": 0, "mask": b"\x01"} | {field: value}
    with pytest.raises(MessageRefusedError, match=rf"\$\.{field}"):
        decode(BlockRequest, msgspec.msgpack.encode(fields))


def test_a_message_beyond_the_limit_is_refused_unread():
    wire = encode(Block(transfer=1, data=bytes(MESSAGE_LIMIT_BYTES)))
    with pytest.raises(MessageRefusedError, match=str(MESSAGE_LIMIT_BYTES)):
        decode(Block, wire)


def test_the_largest_block_fits_a_message():
    from protocols.blocks import DIGEST_BYTES, MAX_BLOCK

    wire = encode(Block(2**63 - 1, 2**40, 2**50, bytes(MAX_BLOCK), bytes(DIGEST_BYTES)))
    assert len(wire) <= MESSAGE_LIMIT_BYTES


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(MessageRefusedError):
        decode(Event, b"\x81\xa6detail" + b"\x91" * 100_000)


def test_every_channel_has_its_message():
    assert set(UP) == set(UP_CHANNELS)
    assert set(DOWN) == set(DOWN_CHANNELS)
    assert set(UP.values()) | set(DOWN.values()) == set(KINDS)


def test_every_error_shares_the_root():
    for error in (MessageRefusedError("Ack", "x"), UnknownVersionError("Ack", 2, 1)):
        assert isinstance(error, ProtocolError)
