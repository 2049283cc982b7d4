"""Drift reports: one merged window judged against the reference profile of the release that served it."""

from typing import Literal

import msgspec

from protocols.names import ReleaseRef
from protocols.reference import ReferenceProfile
from protocols.sketches import CategorySketch, NumericSketch
from registry.monitoring import distances
from registry.monitoring.merging import MergedWindow
from registry.monitoring.policy import Policy


class FeatureDrift(msgspec.Struct, frozen=True):
    """How far one input or output has moved. A distance is None where there was nothing to compare.

    `psi` and `ks` are dimensionless, `wasserstein` is in deviations of the reference, rates are shares of rows.
    `reason` says in words why `drifted` is true; it is empty where it is not.
    """

    feature: str
    kind: Literal["numeric", "category"]
    psi: float | None
    ks: float | None
    wasserstein: float | None
    missing_rate: float
    reference_missing_rate: float
    out_of_range_rate: float
    drifted: bool
    reason: str = ""


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
        _numeric(name, numeric[name], window.numeric[name], policy, alpha) for name in numeric if name in window.numeric
    ] + [
        _category(name, categories[name], window.categories[name], policy, alpha)
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
            _numeric(name, outputs[name], window.outputs[name], policy, alpha)
            for name in outputs
            if name in window.outputs
        ),
        drifted_share=moved / len(features) if features else 0.0,
        drifted=moved >= policy.drifted_features,
        rejected=window.rejected,
        dropped=window.dropped,
    )


def _numeric(name: str, before: NumericSketch, now: NumericSketch, policy: Policy, alpha: float) -> FeatureDrift:
    reasons: list[str] = []
    psi = ks = far = None
    if before.count and now.count:
        psi, bins = distances.population_stability(before, now)
        ks = distances.kolmogorov_smirnov(before, now)
        far = distances.wasserstein(before, now)
        limit = max(policy.psi_threshold, distances.stability_by_chance(bins, before.count, now.count, alpha))
        reasons += [f"PSI {psi:.2f} is over {limit:.2f}"] if psi > limit else []
        limit = max(policy.ks_threshold, distances.distance_by_chance(before.count, now.count, alpha))
        reasons += [f"KS {ks:.2f} is over {limit:.2f}"] if ks > limit else []
    return _drift(name, "numeric", (psi, ks, far), before, now, reasons, policy, alpha)


def _category(name: str, before: CategorySketch, now: CategorySketch, policy: Policy, alpha: float) -> FeatureDrift:
    reasons: list[str] = []
    psi = None
    if before.count and now.count:
        psi, bins = distances.category_stability(before, now)
        limit = max(policy.psi_threshold, distances.stability_by_chance(bins, before.count, now.count, alpha))
        reasons += [f"PSI {psi:.2f} is over {limit:.2f}"] if psi > limit else []
    return _drift(name, "category", (psi, None, None), before, now, reasons, policy, alpha)


def _drift(
    name: str,
    kind: Literal["numeric", "category"],
    found: tuple[float | None, float | None, float | None],
    before: NumericSketch | CategorySketch,
    now: NumericSketch | CategorySketch,
    reasons: list[str],
    policy: Policy,
    alpha: float,
) -> FeatureDrift:
    missing, reference_missing = _missing_rate(now), _missing_rate(before)
    chance = distances.rate_by_chance(reference_missing, before.count + before.missing, now.count + now.missing, alpha)
    limit = max(reference_missing + policy.missing_threshold, chance)
    if missing > limit:
        reasons = [*reasons, f"missing {missing:.0%} is over {limit:.0%}"]
    odd = now.unseen if isinstance(now, CategorySketch) else now.out_of_range
    rate = min(1.0, odd / now.count) if now.count else float(bool(odd))
    psi, ks, far = found
    return FeatureDrift(name, kind, psi, ks, far, missing, reference_missing, rate, bool(reasons), "; ".join(reasons))


def _missing_rate(sketch: NumericSketch | CategorySketch) -> float:
    rows = sketch.count + sketch.missing
    return sketch.missing / rows if rows else 0.0
