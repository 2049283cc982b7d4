"""Distances between a live window and the reference, from two sketches, and the sizes that chance alone explains.

All take the reference first, the live window second, and need no row of either.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from protocols.sketches import KLL_K, CategorySketch, NumericSketch

Array = np.ndarray[Any, Any]

#: Bins of the PSI, and the live rows that each should hold on average.
MOST_BINS, FEWEST_BINS, ROWS_PER_BIN = 10, 3, 10
#: Categories that get a bin of their own; the rest share one.
MOST_CATEGORIES = 20
#: Added to the count of each bin, so that an empty one has a logarithm (Jeffreys' prior).
SMOOTHING = 0.5
#: Rank error of a full KLL sketch, see `protocols.sketches.KLL_K`.
RANK_ERROR = 0.019
_GRID = 128


def population_stability(reference: NumericSketch, live: NumericSketch) -> tuple[float, int]:
    """Return the population stability index over quantile bins of the reference, and the number of bins.

    Returns:
        Dimensionless, >= 0; 0 means the same share in every bin. By custom 0.1 is a small and 0.2 a large shift.
        Fewer bins are used where the live window has few rows.

    Raises:
        ValueError: a sketch is empty.

    Source: Yurdakul, "Statistical Properties of the Population Stability Index" (2018), equation 1; bins by
    quantiles of the reference, additive smoothing.
    """
    _require(reference, live)
    edges = _edges(reference, _bins_for(live.count))
    expected = np.diff(reference.cdf(edges), prepend=0.0, append=1.0)
    found = np.diff(live.cdf(edges), prepend=0.0, append=1.0)
    return _stability(expected * reference.count, found * live.count), len(edges) + 1


def category_stability(reference: CategorySketch, live: CategorySketch) -> tuple[float, int]:
    """Return the population stability index over categories, and the number of bins.

    The reference's most frequent categories have a bin each; all others, unseen ones among them, share one.

    Raises:
        ValueError: a sketch is empty.
    """
    _require(reference, live)
    before, now = reference.frequencies(), live.frequencies()
    room = max(1, min(MOST_CATEGORIES, live.count // ROWS_PER_BIN))
    kept = list(before)[:room]
    expected = np.array([*(before[name] for name in kept), 0.0])
    found = np.array([*(now.get(name, 0) for name in kept), 0.0])
    expected[-1] = max(0.0, reference.count - expected.sum())
    found[-1] = max(0.0, live.count - found.sum())
    return _stability(expected, found), len(expected)


def kolmogorov_smirnov(reference: NumericSketch, live: NumericSketch) -> float:
    """Return the largest distance between the two cumulative distributions, 0 to 1.

    Raises:
        ValueError: a sketch is empty.

    Source: Smirnov, "Table for Estimating the Goodness of Fit of Empirical Distributions" (1948); the supremum is
    taken over the quantiles of both sketches and just below them.
    """
    _require(reference, live)
    ranks = np.linspace(0.0, 1.0, _GRID + 1)
    points = np.unique(np.concatenate([reference.quantiles(ranks), live.quantiles(ranks)]))
    points = np.unique(np.concatenate([points, _just_below(points)]))
    return float(np.abs(reference.cdf(points) - live.cdf(points)).max())


def wasserstein(reference: NumericSketch, live: NumericSketch) -> float:
    """Return the first Wasserstein distance in standard deviations of the reference.

    1.0 means that values moved by one deviation on average. A constant reference has no deviation: the distance is
    then in the column's own unit.

    Raises:
        ValueError: a sketch is empty.

    Source: Vallender, "Calculation of the Wasserstein Distance between Probability Distributions on the Line"
    (1974): the area between the quantile functions.
    """
    _require(reference, live)
    ranks = (np.arange(_GRID) + 0.5) / _GRID
    distance = float(np.abs(reference.quantiles(ranks) - live.quantiles(ranks)).mean())
    return distance / (reference.deviation or 1.0)


def stability_by_chance(bins: int, reference_rows: int, live_rows: int, alpha: float) -> float:
    """Return the index that two samples of one distribution exceed with probability `alpha`.

    Source: Yurdakul (2018), section 4: under no shift the index is (1/n + 1/m) times a chi-squared variable with
    bins - 1 degrees of freedom; its quantile after Wilson and Hilferty (1931). The sketches' own rank error is added.
    """
    degrees = max(1, bins - 1)
    spread = 2.0 / (9.0 * degrees)
    chi_squared = degrees * (1.0 - spread + NormalDist().inv_cdf(1.0 - alpha) * math.sqrt(spread)) ** 3
    error = _sketch_error(reference_rows) ** 2 + _sketch_error(live_rows) ** 2
    return chi_squared * (1.0 / reference_rows + 1.0 / live_rows) + bins * bins * error / 2.0


def distance_by_chance(reference_rows: int, live_rows: int, alpha: float) -> float:
    """Return the Kolmogorov-Smirnov distance that two samples of one distribution exceed with probability `alpha`.

    Source: Smirnov (1948), the two-sample limit; the sketches' own rank error is added.
    """
    limit = math.sqrt(-math.log(alpha / 2.0) / 2.0 * (1.0 / reference_rows + 1.0 / live_rows))
    return limit + _sketch_error(reference_rows) + _sketch_error(live_rows)


def rate_by_chance(rate: float, reference_rows: int, live_rows: int, alpha: float) -> float:
    """Return the rate that a window exceeds with probability `alpha` while the true rate is still `rate`.

    Source: Wilson, "Probable Inference" (1927): the upper score limit, with the reference's own uncertainty.
    """
    z = NormalDist().inv_cdf(1.0 - alpha)
    rows = 1.0 / (1.0 / max(1, reference_rows) + 1.0 / max(1, live_rows))
    centre = rate + z * z / (2.0 * rows)
    width = z * math.sqrt(rate * (1.0 - rate) / rows + z * z / (4.0 * rows * rows))
    return (centre + width) / (1.0 + z * z / rows)


def _require(reference: NumericSketch | CategorySketch, live: NumericSketch | CategorySketch) -> None:
    if not reference.count or not live.count:
        raise ValueError("no distance to an empty sketch")


def _bins_for(rows: int) -> int:
    return max(FEWEST_BINS, min(MOST_BINS, rows // ROWS_PER_BIN))


def _edges(reference: NumericSketch, bins: int) -> Array:
    """Return inner bin edges, ascending. Where values repeat so much that quantiles coincide, each repeated value
    gets a bin of its own: a constant column that moves down would otherwise look unmoved."""
    quantiles = reference.quantiles(np.arange(1, bins) / bins)
    edges = np.unique(quantiles)
    return edges if len(edges) == len(quantiles) else np.unique(np.concatenate([edges, _just_below(edges)]))


def _just_below(values: Array) -> Array:
    return np.nextafter(values.astype(np.float32), np.float32(-np.inf)).astype(np.float64)


def _stability(expected: Array, found: Array) -> float:
    p = (expected + SMOOTHING) / (expected.sum() + SMOOTHING * len(expected))
    q = (found + SMOOTHING) / (found.sum() + SMOOTHING * len(found))
    return float(((q - p) * np.log(q / p)).sum())


def _sketch_error(rows: int) -> float:
    """A sketch that never had to compact is exact."""
    return RANK_ERROR if rows > KLL_K else 0.0
