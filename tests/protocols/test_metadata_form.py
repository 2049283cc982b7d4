"""Metadata in form, and what is refused before a signature is looked at."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MetadataFormError
from protocols.metadata_form import MAX_DEPTH, MAX_NUMBER, check_form
from protocols.trust import read_note, read_signed_at, signed_at_field

GOOD = {"signatures": [], "signed": {"_type": "timestamp", "version": 3, "text": "夜 é \U0001f512"}}


def nested(depth: int) -> bytes:
    return b'{"signed": {"x": ' + b"[" * depth + b"]" * depth + b"}}"


BAD = {
    "empty": (b"", "not JSON"),
    "not-json": (b"<html>502 Bad Gateway</html>", "not JSON"),
    "cut-off": (json.dumps(GOOD).encode()[:-9], "not JSON"),
    "two-documents": (json.dumps(GOOD).encode() * 2, "not JSON"),
    "latin-1": (b'{"signed": {"x": "\xe9"}}', "not JSON"),
    "utf-16": (json.dumps(GOOD).encode("utf-16"), "not JSON"),
    "byte-order-mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "not JSON"),
    "a-list": (b"[1, 2]", "not an object"),
    "null": (b"null", "not an object"),
    "no-signed-part": (b'{"signatures": []}', "not an object"),
    "signed-is-text": (b'{"signed": "root"}', "not an object"),
    "a-key-twice": (b'{"signed": {"version": 1, "version": 2}}', "'version' is there twice"),
    "a-key-twice-by-escape": (b'{"signed": {"version": 1, "\\u0076ersion": 2}}', "'version' is there twice"),
    "two-signed-parts": (b'{"signed": {"version": 1}, "signed": {"version": 2}}', "'signed' is there twice"),
    "half-a-surrogate-pair": (b'{"signed": {"x": "\\ud800"}}', "surrogate"),
    "half-a-surrogate-pair-in-a-key": (b'{"signed": {"\\udfff": 1}}', "surrogate"),
    "huge-version": (b'{"signed": {"version": 9007199254740992}}', "16 digits"),
    "huge-negative": (b'{"signed": {"version": -9007199254740992}}', "beyond"),
    "version-of-ten-thousand-digits": (b'{"signed": {"version": 1' + b"0" * 10_000 + b"}}", "not JSON"),
    "nan": (b'{"signed": {"version": NaN}}', "NaN is no number"),
    "infinity": (b'{"signed": {"version": Infinity}}', "Infinity is no number"),
    "sixty-five-levels": (nested(MAX_DEPTH - 1), "nests deeper"),
    "a-thousand-levels": (nested(1_000), "nests deeper"),
    "ten-thousand-levels": (nested(10_000), "nests deeper"),
    "a-million-levels": (nested(1_000_000), "nests deeper"),
    "ten-thousand-levels-left-open": (b"[" * 10_000, "nests deeper|not JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_metadata_is_refused_by_name(name: str) -> None:
    data, text = BAD[name]
    with pytest.raises(MetadataFormError, match=text) as caught:
        check_form("targets.json", data)
    assert str(caught.value).startswith("targets.json is refused: ")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_metadata_in_form_passes() -> None:
    check_form("timestamp.json", json.dumps(GOOD).encode())
    check_form("timestamp.json", json.dumps(GOOD, ensure_ascii=False).encode())
    check_form("timestamp.json", json.dumps({"signed": {"version": MAX_NUMBER}}).encode())
    check_form("timestamp.json", nested(MAX_DEPTH - 2))


@given(st.binary(max_size=400))
def test_any_bytes_pass_or_are_refused_by_name(data: bytes) -> None:
    try:
        check_form("root.json", data)
    except MetadataFormError as error:
        assert "\n" not in str(error)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=30,
)


@given(_json)
def test_any_json_passes_or_is_refused_by_name(signed: Any) -> None:
    try:
        check_form("root.json", json.dumps({"signed": signed}).encode())
    except MetadataFormError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("custom", [[], "x", 3, {"device": 3}, {"profiles": "x86"}, {"profiles": [1]}])
def test_a_target_whose_custom_part_is_not_ours_is_refused(custom: Any) -> None:
    with pytest.raises(MetadataFormError, match="custom part"):
        read_note("ccpp/1/model.onnx", custom)


def test_the_time_of_signing_comes_back() -> None:
    assert read_signed_at(signed_at_field(1_800_000_000.7)) == 1_800_000_000
    assert read_signed_at({}) is None
    for odd in (3, "yesterday", "2026-13-01T00:00:00Z", ["2026-01-01T00:00:00Z"], {}):
        with pytest.raises(MetadataFormError, match="is no time"):
            read_signed_at({"x-genba-signed-at": odd})
