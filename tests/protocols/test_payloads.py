"""JSON paths into sensor messages: any name can be reached, nothing raises on any document."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PathRefusedError
from protocols.payloads import ABSENT, extract, parse_path, quote_name

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
steps = st.lists(st.integers(0, 999) | st.text(min_size=1, max_size=8), min_size=1, max_size=5)


@given(st.text(max_size=30))
def test_a_quoted_name_reaches_the_key_of_that_name(name):
    assert parse_path(quote_name(name)) == (name,)
    assert extract({name: 1}, parse_path(quote_name(name))) == 1


@given(steps)
def test_steps_written_as_a_path_are_read_back(wanted):
    text = "$" + "".join(f"[{step}]" if isinstance(step, int) else quote_name(step)[1:] for step in wanted)
    assert parse_path(text) == tuple(wanted)


@given(json_values, steps)
def test_any_path_into_any_document_is_a_value_or_absent(document, wanted):
    found = extract(document, tuple(wanted))
    assert found is ABSENT or json.dumps(found) in json.dumps(document)


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_refused_by_name(text):
    try:
        assert parse_path(text)
    except PathRefusedError as error:
        assert error.path == text


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        ("$.line.temperature", ("line", "temperature")),
        ("line.temperature", ("line", "temperature")),
        ("a[0].b", ("a", 0, "b")),
        ("$[2]", (2,)),
        ("$['Torque [Nm]']", ("Torque [Nm]",)),
        (r"$['it\'s'].x", ("it's", "x")),
        ("Air temperature", ("Air temperature",)),
    ],
)
def test_paths_as_people_write_them(path, parsed):
    assert parse_path(path) == parsed


@pytest.mark.parametrize("path", ["", "$", "a..b", "a[", "a[x]", "a[*]", "$['a'", "a[-1]", "a[1:2]", "$$"])
def test_what_is_no_path_is_refused_and_the_form_shown(path):
    with pytest.raises(PathRefusedError, match="write it like"):
        parse_path(path)


def test_null_is_a_value_and_absence_is_not():
    assert extract({"a": None}, ("a",)) is None
    assert extract({"a": None}, ("a", "b")) is ABSENT
    assert extract([1], (1,)) is ABSENT
    assert extract("text", (0,)) is ABSENT
    assert not ABSENT
