"""Merging: telemetry windows of many devices and times become one set of sketches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from protocols.errors import SketchError
from protocols.messages import Telemetry
from protocols.sketches import CategorySketch, NumericSketch


class DeviceWindow(msgspec.Struct, frozen=True):
    """One telemetry window and the device that it came from."""

    device: str
    telemetry: Telemetry


@dataclass(slots=True)
class MergedWindow:
    """What one model's streams have seen over devices and time. `start`, `end`: seconds since the epoch."""

    start: float
    end: float
    devices: set[str] = field(default_factory=set)
    rows: int = 0
    rejected: int = 0
    dropped: int = 0
    unreadable: int = 0
    numeric: dict[str, NumericSketch] = field(default_factory=dict)
    categories: dict[str, CategorySketch] = field(default_factory=dict)
    outputs: dict[str, NumericSketch] = field(default_factory=dict)


def merge(windows: Sequence[DeviceWindow]) -> MergedWindow:
    """Merge windows, in any order. A window with a sketch that cannot be read is left out and counted.

    Raises:
        ValueError: there are none.
    """
    if not windows:
        raise ValueError("no windows to merge")
    merged = MergedWindow(
        min(window.telemetry.start for window in windows), max(window.telemetry.end for window in windows)
    )
    for window in windows:
        try:
            _add(merged, window)
        except SketchError:
            merged.unreadable += 1
    return merged


def _add(merged: MergedWindow, window: DeviceWindow) -> None:
    telemetry = window.telemetry
    # All sketches are read before any is merged, so that a damaged window adds nothing at all.
    numeric = {name: NumericSketch.of(summary) for name, summary in telemetry.numeric.items()}
    categories = {name: CategorySketch.of(summary) for name, summary in telemetry.categories.items()}
    outputs = {name: NumericSketch.of(summary) for name, summary in telemetry.outputs.items()}
    for name, sketch in numeric.items():
        merged.numeric.setdefault(name, NumericSketch()).merge(sketch)
    for name, category in categories.items():
        merged.categories.setdefault(name, CategorySketch()).merge(category)
    for name, sketch in outputs.items():
        merged.outputs.setdefault(name, NumericSketch()).merge(sketch)
    merged.devices.add(window.device)
    merged.rows += telemetry.predictions
    merged.rejected += sum(telemetry.rejected.values())
    merged.dropped += telemetry.dropped


def intervals(pending: Sequence[DeviceWindow], expected: Iterable[str], min_rows: int) -> Iterator[list[DeviceWindow]]:
    """Yield the complete intervals in the pending windows, oldest first.

    An interval is complete once it holds `min_rows` predictions and either every expected device has sent a window,
    or some stream has sent a second one: the others are then late, and are not waited for.

    Args:
        pending: the windows of one release that no report has covered, in order of their ends.
        expected: the devices that should be sending windows of the release now.
    """
    due = set(expected)
    group: list[DeviceWindow] = []
    for window in pending:
        group.append(window)
        streams = [(member.device, member.telemetry.stream) for member in group]
        everyone = due <= {device for device, _ in streams} or len(set(streams)) < len(streams)
        if everyone and sum(member.telemetry.predictions for member in group) >= min_rows:
            yield group
            group = []
