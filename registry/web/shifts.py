"""Shifts: what a drift report means in the plant's own units, before and now."""

from collections.abc import Mapping

import msgspec

from protocols.errors import SketchError
from protocols.manifest import Manifest
from protocols.names import ReleaseRef
from protocols.reference import ReferenceProfile, decode_reference
from protocols.sketches import CategorySketch, NumericSketch
from registry.blobs import Blobs
from registry.catalogue import Catalogue
from registry.errors import UnknownReleaseError
from registry.monitoring.merging import MergedWindow, merge
from registry.monitoring.reports import DriftReport
from registry.web.words import NOTHING, quantity, share

#: Windows that are merged for one page, newest first: enough to know a median, quick to read.
MERGED_WINDOWS = 300


class Shift(msgspec.Struct, frozen=True):
    """One input, then and now, in words."""

    feature: str
    before: str
    now: str


def shifts(catalogue: Catalogue, report: DriftReport) -> dict[str, Shift]:
    """Return what is known of each feature and output of a report; nothing where the sketches are gone."""
    try:
        release = catalogue.releases.get(ReleaseRef(report.model, report.version))
        path = Blobs(catalogue.home).path(release.files["reference"].sha256)
        reference = decode_reference(path.read_bytes())
    except (UnknownReleaseError, FileNotFoundError, SketchError):
        return {}
    windows = catalogue.telemetry.windows(report.model, report.version, report.start, report.end)[-MERGED_WINDOWS:]
    live = merge(windows) if windows else None
    return _compared(release.manifest, reference, live)


def _compared(manifest: Manifest, reference: ReferenceProfile, live: MergedWindow | None) -> dict[str, Shift]:
    units = {spec.name: spec.unit for spec in (*manifest.inputs, *manifest.outputs)}
    found: dict[str, Shift] = {}
    numeric = {**reference.numeric, **reference.outputs}
    now: Mapping[str, NumericSketch] = {**live.numeric, **live.outputs} if live else {}
    for name, summary in numeric.items():
        unit = units.get(name)
        found[name] = Shift(
            name, _median(NumericSketch.of(summary), unit), _median(now[name], unit) if name in now else NOTHING
        )
    for name, items in reference.categories.items():
        before, after = CategorySketch.of(items), live.categories.get(name) if live else None
        found[name] = _moved_category(name, before, after)
    return found


def _median(sketch: NumericSketch, unit: str | None) -> str:
    if not sketch.count:
        return NOTHING
    return f"median {quantity(float(sketch.quantiles([0.5])[0]), unit, 3)}"


def _moved_category(name: str, before: CategorySketch, after: CategorySketch | None) -> Shift:
    """The one value whose share has changed most."""
    old = _shares(before)
    if after is None or not after.count:
        top = next(iter(old), None)
        return Shift(name, _quoted(top, old) if top is not None else NOTHING, NOTHING)
    new = _shares(after)
    most = max({**old, **new}, key=lambda value: abs(new.get(value, 0.0) - old.get(value, 0.0)), default=None)
    if most is None:
        return Shift(name, NOTHING, NOTHING)
    return Shift(name, _quoted(most, old), _quoted(most, new))


def _quoted(value: str, shares: Mapping[str, float]) -> str:
    return f"“{value}” {share(shares.get(value, 0.0))}"


def _shares(sketch: CategorySketch) -> dict[str, float]:
    return {value: count / sketch.count for value, count in sketch.frequencies().items()} if sketch.count else {}
