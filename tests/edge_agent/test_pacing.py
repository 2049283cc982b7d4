"""The pace of downloads: it fills a link without filling its queues, gives way, and stays within its bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.pacing import TARGET_S, Bounds, Pace, after_round, after_silence, first_pace
from protocols.blocks import MAX_WINDOW, UNIT_BYTES

BOUNDS = Bounds()
bounds = st.builds(Bounds, st.integers(UNIT_BYTES, 2**20), st.integers(2**20, 2**26))
seconds = st.floats(0, 100)


class Path:
    """A link as the pace sees it: what a window's blocks take on it, and what is lost of it while it is empty."""

    def __init__(self, rate: float, round_trip_s: float) -> None:
        self.rate, self.round_trip_s = rate, round_trip_s

    def delay_s(self, pace: Pace) -> float:
        return max(self.round_trip_s + pace.block_bytes / self.rate, pace.window_bytes / self.rate)

    def run(self, pace: Pace, rounds: int, others_wait_s: float = 0.0) -> Pace:
        for _ in range(rounds):
            pace = after_round(pace, self.delay_s(pace), others_wait_s, BOUNDS)
        return pace


@given(bounds, st.lists(st.one_of(st.tuples(seconds, seconds, st.booleans()), st.none()), max_size=50))
def test_the_pace_never_leaves_its_bounds(limits, rounds):
    pace = first_pace(limits)
    for each in rounds:
        pace = after_silence(pace, limits) if each is None else after_round(pace, *each[:2], limits, full=each[2])
        assert UNIT_BYTES <= pace.block_bytes <= min(limits.block_bytes, pace.window_bytes)
        assert pace.block_bytes & (pace.block_bytes - 1) == 0
        assert pace.window_bytes <= min(limits.window_bytes, pace.block_bytes * MAX_WINDOW)
        assert pace.base_s >= 0


@given(st.floats(3e4, 3e7), st.floats(0.001, 0.5))
def test_a_link_is_filled_and_its_queues_are_not(rate, round_trip_s):
    path = Path(rate, round_trip_s)
    pace = path.run(first_pace(BOUNDS), 200)
    waited_s = path.delay_s(pace) - path.round_trip_s
    carried = pace.window_bytes / path.delay_s(pace)
    assert waited_s <= TARGET_S + pace.base_s / 4 + 2 * pace.block_bytes / rate
    assert carried >= 0.7 * rate or pace.window_bytes == BOUNDS.window_bytes


@given(st.floats(3e4, 3e7), st.floats(0.001, 0.5), st.floats(1.0, 10.0))
def test_a_download_gives_way_while_others_wait(rate, round_trip_s, others_wait_s):
    path = Path(rate, round_trip_s)
    before = path.run(first_pace(BOUNDS), 200)
    after = path.run(before, 12, others_wait_s)
    assert after.window_bytes <= max(before.window_bytes / 8, UNIT_BYTES)
    assert path.run(after, 200).window_bytes >= before.window_bytes / 2


@given(st.floats(1e5, 3e7))
def test_a_path_that_became_longer_is_learnt(rate):
    pace = Path(rate, 0.01).run(first_pace(BOUNDS), 100)
    longer = Path(rate, 0.8)
    pace = longer.run(pace, 100)
    assert pace.window_bytes >= min(0.5 * rate * 0.8, BOUNDS.window_bytes)


def test_silence_halves_the_window_and_in_the_end_the_blocks():
    pace = Pace(1024 * 1024, 64 * 1024, 0.01)
    halved = after_silence(pace, BOUNDS)
    assert halved.window_bytes == 512 * 1024
    for _ in range(20):
        pace = after_silence(pace, BOUNDS)
    assert (pace.window_bytes, pace.block_bytes) == (UNIT_BYTES, UNIT_BYTES)


def test_a_round_that_was_not_full_widens_nothing():
    pace = Pace(256 * 1024, 32 * 1024, 0.05)
    assert after_round(pace, 0.05, 0.0, BOUNDS, full=False).window_bytes == pace.window_bytes
    assert after_round(pace, 0.05, 0.0, BOUNDS).window_bytes > pace.window_bytes


def test_nothing_is_known_of_a_new_link():
    assert first_pace(BOUNDS).base_s == math.inf
    assert first_pace(BOUNDS).window_bytes <= 64 * 1024


@pytest.mark.parametrize("limits", [(UNIT_BYTES - 1, 2**20), (2**16, 2**15)])
def test_bounds_that_contradict_themselves_are_refused(limits):
    with pytest.raises(ValueError, match="under way"):
        Bounds(*limits)
