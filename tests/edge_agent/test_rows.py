"""Messages to rows: what is served, what is refused, and the reason that a person reads."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.rows import RowReader
from protocols.assignment import StreamBinding
from protocols.manifest import TensorSpec

INPUTS = (TensorSpec("AT", "float32"), TensorSpec("kind", "string"))
FLAT = StreamBinding("s", "m", "t", "o", key="$.id")
NESTED = StreamBinding("s", "m", "t", "o", inputs={"AT": "$.line.temp", "kind": "$.line['the kind']"}, key="$.meta.id")
LISTED = StreamBinding("s", "m", "t", "o", inputs={"AT": "$.values[0]", "kind": "$.values[1]"})


def read(binding: StreamBinding, *payloads: Any) -> Any:
    raw = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in payloads]
    return RowReader(INPUTS, binding).read(raw)


def reason(payload: Any, binding: StreamBinding = FLAT) -> tuple[str, str]:
    rows = read(binding, payload)
    assert rows.accepted == []
    [(index, rejection)] = rows.rejected
    assert index == 0
    return tuple(rejection)


def test_values_become_columns() -> None:
    rows = read(FLAT, {"AT": 1, "kind": "a", "id": 7}, {"kind": "b", "AT": -2.5, "other": [1, {}]})
    assert [c.shape for c in rows.columns] == [(2, 1), (2, 1)]
    assert rows.columns[0].dtype == np.float32
    assert rows.columns[0].ravel().tolist() == [1.0, -2.5]
    assert rows.columns[1].ravel().tolist() == ["a", "b"]
    assert list(rows.keys) == [7, None]


@pytest.mark.parametrize("binding", [FLAT, LISTED], ids=["the fast way", "the slow way"])
def test_true_and_false_are_one_and_zero_to_a_number(binding: StreamBinding) -> None:
    inputs = (TensorSpec("AT", "float32"), TensorSpec("kind", "int64"))
    said = [(True, False), (False, True), (2.5, 3), (None, 1)]
    payloads = [{"AT": one, "kind": two, "values": [one, two]} for one, two in said]
    reader, raw = RowReader(inputs, binding), [json.dumps(payload).encode() for payload in payloads]
    assert [reader._fast is not None and reader._fast(payload) is not None for payload in raw] == [binding is FLAT] * 4
    rows = reader.read(raw)
    assert rows.rejected == []
    np.testing.assert_array_equal(rows.columns[0].ravel(), np.float32([1, 0, 2.5, np.nan]))
    assert rows.columns[1].ravel().tolist() == [0, 1, 3, 1]
    np.testing.assert_array_equal(rows.numbers[0], np.float32([1, 0, 2.5, np.nan]))


def test_a_text_input_with_the_words_true_and_false_goes_on_taking_texts() -> None:
    """As releases have it that were made of columns with missing values before these were numbers."""
    reader = RowReader((TensorSpec("open", "string", categories=("True", "False")),), StreamBinding("s", "m", "t", "o"))
    rows = reader.read([b'{"open": "True"}', b'{"open": true}', b'{"open": null}'])
    assert (rows.columns[0].ravel().tolist(), list(rows.accepted)) == (["True", ""], [0, 2])
    assert [rejection.reason for _, rejection in rows.rejected] == ["wrong-type"]


def test_null_is_a_missing_measurement_and_an_absent_key_is_not() -> None:
    rows = read(FLAT, {"AT": None, "kind": None})
    assert math.isnan(rows.columns[0][0, 0])
    assert rows.columns[1][0, 0] == ""
    assert reason({"kind": "a"}) == ("missing-feature", "AT: nothing at $.AT (null would mean: not measured)")


@pytest.mark.parametrize(
    ("payload", "wanted", "text"),
    [
        (b"", "not-json", ""),
        (b"temperature=12", "not-json", "it begins 'temperature=12'"),
        (b'{"AT": NaN, "kind": "a"}', "not-json", ""),
        (b'{"AT": Infinity, "kind": "a"}', "not-json", ""),
        (b'{"AT": 1, "kind": "a"} {"AT": 1}', "not-json", "trailing"),
        (b'{"AT": 1, "kind": "\xff"}', "not-json", "utf-8"),
        (b'{"AT": 1, "kind": "a"', "not-json", ""),
        (b"[" * 100_000, "not-json", ""),
        (b"[1, 2]", "not-an-object", "a list"),
        (b"12.5", "not-an-object", "a number"),
        (b"null", "not-an-object", "null"),
        ({"AT": "12.5", "kind": "a"}, "wrong-type", "AT: the text '12.5' at $.AT, expected a number"),
        ({"AT": 1, "kind": True}, "wrong-type", "kind: true or false at $.kind, expected text"),
        ({"AT": "true", "kind": "a"}, "wrong-type", "AT: the text 'true' at $.AT, expected a number"),
        ({"AT": {"v": 1}, "kind": "a"}, "wrong-type", "an object"),
        ({"AT": [1], "kind": "a"}, "wrong-type", "a list"),
        ({"AT": 1, "kind": 3}, "wrong-type", "kind: a number at $.kind, expected text"),
        (b'{"AT": 1e400, "kind": "a"}', "not-finite", ""),
        ({"AT": 1e39, "kind": "a"}, "not-finite", "AT: the number is beyond what a float32 can hold"),
        (b'{"AT": ' + b"9" * 400 + b', "kind": "a"}', "not-finite", ""),
    ],
)
def test_a_bad_message_is_refused_with_its_reason(payload: Any, wanted: str, text: str) -> None:
    found = reason(payload)
    assert found[0] == wanted
    assert text in found[1]
    assert "\n" not in found[1]


def test_nested_paths_are_read() -> None:
    rows = read(NESTED, {"line": {"temp": 3, "the kind": "a"}, "meta": {"id": "x-1"}})
    assert (rows.columns[0][0, 0], rows.columns[1][0, 0], list(rows.keys)) == (3.0, "a", ["x-1"])
    assert reason({"line": 5}, NESTED)[0] == "missing-feature"
    assert reason({"line": {"temp": "hot", "the kind": "a"}}, NESTED)[1].startswith("AT: the text 'hot' at $.line.temp")


def test_a_missing_or_odd_key_does_not_cost_the_prediction() -> None:
    rows = read(NESTED, {"line": {"temp": 3, "the kind": "a"}}, {"line": {"temp": 4, "the kind": "a"}, "meta": 1})
    assert list(rows.keys) == [None, None]
    assert list(read(FLAT, {"AT": 1, "kind": "a", "id": {"x": 1}}).keys) == [None]


def test_paths_into_lists_are_read() -> None:
    rows = read(LISTED, {"values": [1.5, "b"]})
    assert (rows.columns[0][0, 0], rows.columns[1][0, 0]) == (1.5, "b")
    assert reason({"values": [1.5]}, LISTED)[0] == "missing-feature"


def test_two_inputs_and_the_key_may_share_a_field() -> None:
    inputs = (TensorSpec("a", "float32"), TensorSpec("b", "float32"))
    binding = StreamBinding("s", "m", "t", "o", inputs={"a": "$.x", "b": "$.x"}, key="$.x")
    rows = RowReader(inputs, binding).read([b'{"x": 2}'])
    assert [c[0, 0] for c in rows.columns] == [2.0, 2.0]
    assert list(rows.keys) == [2.0]


def test_names_with_any_characters_are_read() -> None:
    inputs = (TensorSpec("Torque [Nm]'s \\ 温度", "float32"),)
    payload = json.dumps({"Torque [Nm]'s \\ 温度": 4}).encode()
    assert RowReader(inputs, StreamBinding("s", "m", "t", "o")).read([payload]).columns[0][0, 0] == 4.0


def test_bad_messages_leave_the_good_ones_in_their_places() -> None:
    rows = read(
        FLAT, {"AT": 1, "kind": "a", "id": 0}, b"?", {"AT": 1e39, "kind": "a", "id": 2}, {"AT": 3, "kind": "", "id": 3}
    )
    assert list(rows.accepted) == [0, 3]
    assert rows.columns[0].ravel().tolist() == [1.0, 3.0]
    assert list(rows.keys) == [0, 3]
    assert sorted((index, r.reason) for index, r in rows.rejected) == [(1, "not-json"), (2, "not-finite")]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["AT", "kind", "id", "x"]), VALUES))
def test_the_fast_path_and_the_slow_path_agree(document: dict[str, Any]) -> None:
    payload = json.dumps(document).encode("utf-8", "surrogatepass")
    fast, slow = RowReader(INPUTS, FLAT), RowReader(INPUTS, FLAT)
    slow._fast = None
    one, two = fast.read([payload]), slow.read([payload])
    assert list(one.accepted) == list(two.accepted)
    assert one.rejected == two.rejected
    assert list(one.keys) == list(two.keys)
    for left, right in zip(one.columns, two.columns, strict=True):
        np.testing.assert_array_equal(left, right)


@given(st.binary(max_size=64))
def test_no_bytes_raise(payload: bytes) -> None:
    rows = RowReader(INPUTS, FLAT).read([payload])
    assert len(rows.accepted) + len(rows.rejected) == 1
