"""Drift reports: one merged window judged against the reference profile of the release that served it."""

import msgspec

from protocols.drift import FeatureDrift, judge_categories, judge_numbers
from protocols.names import ReleaseRef
from protocols.reference import ReferenceProfile
from protocols.sketches import CategorySketch, NumericSketch
from registry.monitoring.merging import MergedWindow
from registry.monitoring.policy import Policy


class DriftReport(msgspec.Struct, frozen=True):
    """One interval of one release over all of its devices. `start`, `end`: seconds since the epoch.

    `out_of_range_rate` of a category counts values that training never saw. Outputs are judged and shown, but only
    features make the report `drifted`: an output may move because the process did, and the model follows rightly.
    """

    model: str
    version: int
    start: float
    end: float
    devices: tuple[str, ...]
    rows: int
    features: tuple[FeatureDrift, ...]
    outputs: tuple[FeatureDrift, ...]
    drifted_share: float
    drifted: bool
    rejected: int = 0
    dropped: int = 0


def judge(release: ReleaseRef, reference: ReferenceProfile, window: MergedWindow, policy: Policy) -> DriftReport:
    """Compare a merged window with the reference profile.

    A feature has drifted when its shift is both large (the policy's thresholds) and sure (more than chance explains
    at the policy's `alpha`, shared out over all tests of the window). A feature that the window lacks is skipped.

    Raises:
        SketchError: the reference profile cannot be read.
    """
    numeric = {name: NumericSketch.of(summary) for name, summary in reference.numeric.items()}
    categories = {name: CategorySketch.of(summary) for name, summary in reference.categories.items()}
    outputs = {name: NumericSketch.of(summary) for name, summary in reference.outputs.items()}
    alpha = policy.alpha / max(1, 3 * (len(numeric) + len(categories)))
    features = [
        judge_numbers(name, numeric[name], window.numeric[name], policy, alpha)
        for name in numeric
        if name in window.numeric
    ] + [
        judge_categories(name, categories[name], window.categories[name], policy, alpha)
        for name in categories
        if name in window.categories
    ]
    moved = sum(feature.drifted for feature in features)
    return DriftReport(
        model=release.model,
        version=release.version,
        start=window.start,
        end=window.end,
        devices=tuple(sorted(window.devices)),
        rows=window.rows,
        features=tuple(features),
        outputs=tuple(
            judge_numbers(name, outputs[name], window.outputs[name], policy, alpha)
            for name in outputs
            if name in window.outputs
        ),
        drifted_share=moved / len(features) if features else 0.0,
        drifted=moved >= policy.drifted_features,
        rejected=window.rejected,
        dropped=window.dropped,
    )
