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
