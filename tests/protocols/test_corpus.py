"""The wire corpus: what this release makes of bytes that were written once and are kept for ever."""

import base64
import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from protocols import errors
from protocols.assignment import decode_assignment, encode_assignment
from protocols.enrolment import EnrolmentReply, EnrolmentRequest
from protocols.manifest import decode_manifest, encode_manifest
from protocols.measuring import decode_measuring, encode_measuring
from protocols.messages import Message, decode, encode
from protocols.reference import decode_reference, encode_reference
from protocols.sketches import CategorySketch, NumericSketch

CORPUS = Path(__file__).parent / "corpus"
MESSAGES = {kind.__name__: kind for kind in get_args(Message)}
DOCUMENTS = {
    "Assignment": (decode_assignment, encode_assignment),
    "Measuring": (decode_measuring, encode_measuring),
    "Manifest": (decode_manifest, encode_manifest),
    "ReferenceProfile": (decode_reference, encode_reference),
    "EnrolmentRequest": (msgspec.json.Decoder(EnrolmentRequest).decode, msgspec.json.encode),
    "EnrolmentReply": (msgspec.json.Decoder(EnrolmentReply).decode, msgspec.json.encode),
}


def cases(side: str) -> list[Any]:
    pages = sorted((CORPUS / side).glob("*.json"))
    return [pytest.param(json.loads(page.read_text("utf-8")), page.with_suffix(".bin"), id=page.stem) for page in pages]


def read(kind: str, data: bytes) -> Any:
    return decode(MESSAGES[kind], data) if kind in MESSAGES else DOCUMENTS[kind][0](data)


def write(kind: str, value: Any) -> bytes:
    return encode(value) if kind in MESSAGES else DOCUMENTS[kind][1](value)


def covers(value: Any, expected: Any) -> bool:
    """Does `value` say what `expected` says? Fields that `expected` lacks are defaults, or unknown to us."""
    if isinstance(expected, dict) and set(expected) == {"base64"}:
        return value == base64.b64decode(expected["base64"])
    if isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
        return all(covers(getattr(value, name), inner) for name, inner in expected.items() if name in fields)
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(covers(value[name], inner) for name, inner in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(covers, value, expected))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() == expected
    return bool(value == expected)


@pytest.mark.parametrize(("expectation", "path"), cases("valid"))
def test_valid_bytes_say_what_they_said(expectation, path):
    assert covers(read(expectation["kind"], path.read_bytes()), expectation["value"])


@pytest.mark.parametrize(("expectation", "path"), cases("valid"))
def test_what_is_written_today_is_what_was_written_then(expectation, path):
    value = read(expectation["kind"], path.read_bytes())
    written = write(expectation["kind"], value)
    assert read(expectation["kind"], written) == value
    assert (written == path.read_bytes()) == expectation["canonical"]


@pytest.mark.parametrize(("expectation", "path"), cases("invalid"))
def test_invalid_bytes_are_refused_as_they_were(expectation, path):
    with pytest.raises(getattr(errors, expectation["error"])) as caught:
        read(expectation["kind"], path.read_bytes())
    assert type(caught.value).__name__ == expectation["error"]
    assert expectation["text"] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_sketches_of_the_corpus_can_still_be_read():
    """Their bytes are Apache DataSketches' own; another version of that library must read them too."""
    profile = decode_reference((CORPUS / "valid" / "reference.bin").read_bytes())
    assert NumericSketch.of(profile.numeric["temperature"]).quantiles([0.5]).tolist() == [2.5]
    assert CategorySketch.of(profile.categories["shift"]).frequencies() == {"night": 2, "day": 1, "夜": 1}


def test_every_message_and_document_is_in_the_corpus():
    for side, least in (("valid", MESSAGES.keys() | DOCUMENTS.keys()), ("invalid", {"Ack", "Assignment", "Manifest"})):
        assert least <= {case.values[0]["kind"] for case in cases(side)}
    assert {case.values[0]["error"] for case in cases("invalid")} >= {"MessageRefusedError", "UnknownVersionError"}
