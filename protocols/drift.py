"""One column judged against the reference profile: it has drifted where its shift is both large and sure.

The registry judges the windows of a fleet by this, and a device a file that it has scored.
"""

from typing import Literal, Protocol

import msgspec

from protocols import distances
from protocols.sketches import CategorySketch, NumericSketch


class Limits(Protocol):
    """The least size of a shift that matters; `registry.monitoring.policy.Policy` says what each means."""

    @property
    def psi_threshold(self) -> float: ...
    @property
    def ks_threshold(self) -> float: ...
    @property
    def missing_threshold(self) -> float: ...


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


def judge_numbers(name: str, before: NumericSketch, now: NumericSketch, limits: Limits, alpha: float) -> FeatureDrift:
    """Compare a column of numbers with its reference."""
    reasons: list[str] = []
    psi = ks = far = None
    if before.count and now.count:
        psi, bins = distances.population_stability(before, now)
        ks = distances.kolmogorov_smirnov(before, now)
        far = distances.wasserstein(before, now)
        limit = max(limits.psi_threshold, distances.stability_by_chance(bins, before.count, now.count, alpha))
        reasons += [f"PSI {psi:.2f} is over {limit:.2f}"] if psi > limit else []
        limit = max(limits.ks_threshold, distances.distance_by_chance(before.count, now.count, alpha))
        reasons += [f"KS {ks:.2f} is over {limit:.2f}"] if ks > limit else []
    return _drift(name, "numeric", (psi, ks, far), before, now, reasons, limits, alpha)


def judge_categories(
    name: str, before: CategorySketch, now: CategorySketch, limits: Limits, alpha: float
) -> FeatureDrift:
    """Compare a column of texts with its reference."""
    reasons: list[str] = []
    psi = None
    if before.count and now.count:
        psi, bins = distances.category_stability(before, now)
        limit = max(limits.psi_threshold, distances.stability_by_chance(bins, before.count, now.count, alpha))
        reasons += [f"PSI {psi:.2f} is over {limit:.2f}"] if psi > limit else []
    return _drift(name, "category", (psi, None, None), before, now, reasons, limits, alpha)


def _drift(
    name: str,
    kind: Literal["numeric", "category"],
    found: tuple[float | None, float | None, float | None],
    before: NumericSketch | CategorySketch,
    now: NumericSketch | CategorySketch,
    reasons: list[str],
    limits: Limits,
    alpha: float,
) -> FeatureDrift:
    missing, reference_missing = _missing_rate(now), _missing_rate(before)
    chance = distances.rate_by_chance(reference_missing, before.count + before.missing, now.count + now.missing, alpha)
    limit = max(reference_missing + limits.missing_threshold, chance)
    if missing > limit:
        reasons = [*reasons, f"missing {missing:.0%} is over {limit:.0%}"]
    odd = now.unseen if isinstance(now, CategorySketch) else now.out_of_range
    rate = min(1.0, odd / now.count) if now.count else float(bool(odd))
    psi, ks, far = found
    return FeatureDrift(name, kind, psi, ks, far, missing, reference_missing, rate, bool(reasons), "; ".join(reasons))


def _missing_rate(sketch: NumericSketch | CategorySketch) -> float:
    rows = sketch.count + sketch.missing
    return sketch.missing / rows if rows else 0.0
