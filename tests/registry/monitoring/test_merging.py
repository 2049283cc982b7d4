"""Merging windows over devices and time."""

import msgspec
import numpy as np
import pytest

from protocols.summaries import NumericSummary
from registry.monitoring.merging import DeviceWindow, intervals, merge


@pytest.fixture
def column():
    return np.arange(300, dtype=np.float32)


def test_windows_of_many_devices_count_as_one(column, window_of):
    windows = [
        DeviceWindow("press-7", window_of({"AT": column[:100]}, 0, 60)),
        DeviceWindow("press-8", window_of({"AT": column[100:]}, 30, 90)),
    ]
    merged = merge(windows)
    assert (merged.start, merged.end, merged.rows, merged.devices) == (0, 90, 300, {"press-7", "press-8"})
    assert (merged.rejected, merged.dropped) == (2, 4)
    assert merged.numeric["AT"].count == 300
    assert merged.numeric["AT"].mean == pytest.approx(column.mean())


def test_a_damaged_window_is_left_out_and_counted(column, window_of):
    good = window_of({"AT": column})
    damaged = msgspec.structs.replace(good, numeric={"AT": NumericSummary(b"no sketch", 300, 0, 0, 0.0, 0.0)})
    merged = merge([DeviceWindow("press-7", damaged), DeviceWindow("press-8", good)])
    assert (merged.unreadable, merged.rows, merged.devices) == (1, 300, {"press-8"})


def test_nothing_cannot_be_merged():
    with pytest.raises(ValueError, match="no windows"):
        merge([])


def test_an_interval_waits_for_every_device_that_is_due(column, window_of):
    first = DeviceWindow("press-7", window_of({"AT": column}))
    second = DeviceWindow("press-8", window_of({"AT": column}))
    assert list(intervals([first], ["press-7", "press-8"], 100)) == []
    assert list(intervals([first, second], ["press-7", "press-8"], 100)) == [[first, second]]


def test_an_interval_does_not_wait_for_a_device_that_is_late(column, window_of):
    windows = [DeviceWindow("press-7", window_of({"AT": column}, start, start + 60)) for start in (0, 60)]
    assert list(intervals(windows, ["press-7", "press-8"], 100)) == [windows]


def test_small_windows_are_joined_until_they_say_something(column, window_of):
    windows = [DeviceWindow("press-7", window_of({"AT": column[:40]}, start, start + 60)) for start in (0, 60, 120)]
    assert list(intervals(windows[:2], ["press-7"], 100)) == []
    assert list(intervals(windows, ["press-7"], 100)) == [windows]


def test_a_backlog_keeps_its_intervals_apart(column, window_of):
    windows = [DeviceWindow("press-7", window_of({"AT": column}, start, start + 60)) for start in (0, 60, 120)]
    assert list(intervals(windows, ["press-7"], 100)) == [[window] for window in windows]
