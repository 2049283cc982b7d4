"""Metadata in form, and what is refused before a signature is looked at."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulators.bad_metadata import BAD, GOOD, nested

from protocols.errors import MetadataFormError
from protocols.metadata_form import MAX_DEPTH, MAX_NUMBER, check_form
from protocols.trust import read_note, read_signed_at, signed_at_field


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
