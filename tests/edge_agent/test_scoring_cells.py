"""Columns of text to numbers: the quick way, of nothing but numbers, and the one for all else, say the same."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.scoring.cells import Cells, read_cells
from protocols.manifest import Dtype, TensorSpec

NUMBERS = st.one_of(
    st.floats(width=32).map(repr),
    st.floats().map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["1.", ".5", "1e3", "+1", "007", "-0", "inf", "-Infinity", "NaN", "-nan", "1e999", "0x1F", "1_0"]),
)


def read(texts: list[str], dtype: Dtype) -> Cells:
    return read_cells(pa.chunked_array([pa.array(texts, pa.string())]), TensorSpec("x", dtype), "text")


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@given(texts=st.lists(NUMBERS, min_size=1, max_size=8))
def test_a_number_is_read_alike_whatever_stands_beside_it(dtype: Dtype, texts: list[str]) -> None:
    alone, beside = read(texts, dtype), read([*texts, " 1 "], dtype)
    np.testing.assert_array_equal(alone.values, beside.values[:-1])
    assert alone.bad == beside.bad
    assert beside.values[-1] == 1


def test_what_was_not_measured_and_what_is_no_number_are_told_apart_in_one_column() -> None:
    cells = read(["1.5", "", "NA", "nan", "two", " 3 "], "float32")
    np.testing.assert_array_equal(cells.values[:4, 0], [1.5, np.nan, np.nan, np.nan])
    assert cells.values[5] == 3
    assert list(cells.bad) == [4]


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_true_and_false_are_one_and_zero_however_they_are_written(dtype: Dtype) -> None:
    cells = read(["True", "false", " TRUE ", "1", "0", "truth", "1"], dtype)
    assert cells.values[[0, 1, 2, 3, 4], 0].tolist() == [1, 0, 1, 1, 0]
    assert list(cells.bad) == [5]
    typed = read_cells(pa.chunked_array([pa.array([True, False, True])]), TensorSpec("x", dtype), "typed")
    assert (typed.values.ravel().tolist(), typed.bad) == ([1, 0, 1], {})


def test_a_missing_truth_is_a_missing_number() -> None:
    np.testing.assert_array_equal(read(["true", "", "false"], "float32").values[:, 0], np.float32([1, np.nan, 0]))
    typed = read_cells(pa.chunked_array([pa.array([True, None])]), TensorSpec("x", "float32"), "typed")
    np.testing.assert_array_equal(typed.values[:, 0], np.float32([1, np.nan]))


def test_json_says_true_and_no_text_of_it() -> None:
    texts = pa.chunked_array([pa.array(["true", "false", "null", '"true"', "1"], pa.string())])
    number = read_cells(texts, TensorSpec("x", "float32"), "json")
    np.testing.assert_array_equal(number.values[[0, 1, 2, 4], 0], np.float32([1, 0, np.nan, 1]))
    assert list(number.bad) == [3]
    assert list(read_cells(texts, TensorSpec("x", "string"), "json").bad) == [0, 1, 4]
