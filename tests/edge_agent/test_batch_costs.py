"""The size of a batch under a latency budget: learned, careful with what was never tried, and quick when late."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.batch_costs import BatchCosts


def learned(seconds_a_row: float, most: int, fixed_s: float = 0.0) -> BatchCosts:
    costs, size = BatchCosts(), 1
    while size <= most:
        costs.learn(size, fixed_s + seconds_a_row * size)
        size *= 2
    return costs


def test_the_first_batch_is_one_row_and_the_next_ones_grow_by_doubling() -> None:
    costs, sizes = BatchCosts(), []
    for _ in range(6):
        size = costs.largest(20, 10.0)
        sizes.append(size)
        costs.learn(size, 0.001 * size)
    assert sizes == [1, 2, 4, 8, 16, 20]


def test_a_batch_is_as_large_as_the_time_that_is_left_allows() -> None:
    costs = learned(0.001, 256)
    assert costs.largest(256, 0.1) == 64
    assert costs.largest(256, 0.010) == 8
    assert costs.largest(256, 10.0) == 256
    assert costs.largest(5, 10.0) == 5


def test_what_is_late_already_is_served_in_the_largest_batch() -> None:
    costs = learned(0.001, 256)
    assert costs.largest(256, 0.0) == 256
    assert costs.largest(256, -5.0) == 256
    assert costs.largest(256, 0.0005) == 256


def test_a_machine_that_slows_down_gets_smaller_batches() -> None:
    costs = learned(0.001, 256)
    for _ in range(20):
        costs.learn(64, 0.5)
    assert costs.largest(256, 0.1) == 32


@given(
    st.integers(1, 5000),
    st.floats(-1, 10),
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 5)), max_size=20),
)
def test_a_batch_has_at_least_one_row_and_no_more_than_the_limit(
    limit: int, left_s: float, measured: list[tuple[int, float]]
) -> None:
    costs = BatchCosts()
    for rows, seconds in measured:
        costs.learn(rows, seconds)
    assert 1 <= costs.largest(limit, left_s) <= limit


def test_a_batch_without_a_budget_is_bounded_by_what_was_measured() -> None:
    costs = BatchCosts()
    assert costs.bounded(256, 1.0) == 256  # nothing is known against it
    costs.learn(1, 0.001)
    assert costs.bounded(256, 1.0) == 256
    costs.learn(1, 0.1)
    costs.learn(1, 0.1)
    assert 1 <= costs.bounded(256, 1.0) < 64
    for _ in range(40):
        costs.learn(1, 2.0)
    assert costs.bounded(256, 1.0) == 1
