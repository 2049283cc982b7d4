"""Distances on real readings, against exact figures and against chance."""

import math

import numpy as np
import pytest
from scipy import stats

from protocols import distances
from protocols.sketches import CategorySketch, NumericSketch


def test_distances_agree_with_the_exact_ones(ccpp, sketched):
    cool, warm = np.sort(ccpp["AT"])[:6000], np.sort(ccpp["AT"])[3000:]
    reference, live = sketched(cool), sketched(warm)
    assert distances.kolmogorov_smirnov(reference, live) == pytest.approx(
        stats.ks_2samp(cool, warm).statistic, abs=2 * distances.RANK_ERROR
    )
    assert distances.wasserstein(reference, live) == pytest.approx(
        stats.wasserstein_distance(cool, warm) / cool.std(), rel=0.05
    )


def test_equal_windows_lie_at_distance_zero(ccpp, sketched):
    sketch = sketched(ccpp["AP"])
    assert distances.population_stability(sketch, sketch)[0] == pytest.approx(0.0, abs=1e-12)
    assert distances.kolmogorov_smirnov(sketch, sketch) == 0.0
    assert distances.wasserstein(sketch, sketch) == 0.0


@pytest.mark.parametrize("moved", [4.0, 6.0])
def test_a_constant_column_that_moves_either_way_is_seen(sketched, moved):
    reference, live = sketched(np.full(1000, 5.0)), sketched(np.full(200, moved))
    assert distances.population_stability(reference, live)[0] > 1.0
    assert distances.kolmogorov_smirnov(reference, live) == 1.0
    assert distances.wasserstein(reference, live) == pytest.approx(1.0)


def test_a_two_valued_column_is_compared_by_value(sketched):
    reference = sketched(np.array([0.0] * 900 + [1.0] * 100))
    same = sketched(np.array([0.0] * 180 + [1.0] * 20))
    other = sketched(np.array([0.0] * 100 + [1.0] * 100))
    assert distances.population_stability(reference, same)[0] < 0.01
    assert distances.population_stability(reference, other)[0] > 0.5
    assert distances.kolmogorov_smirnov(reference, other) == pytest.approx(0.4, abs=0.04)


def test_an_empty_sketch_has_no_distance(sketched):
    with pytest.raises(ValueError, match="empty"):
        distances.kolmogorov_smirnov(sketched(np.ones(3)), NumericSketch())


def test_unseen_categories_raise_the_index():
    reference, same, other = CategorySketch(), CategorySketch(), CategorySketch()
    reference.update(["L"] * 600 + ["M"] * 300 + ["H"] * 100)
    same.update(["L"] * 62 + ["M"] * 28 + ["H"] * 10)
    other.update(["L"] * 40 + ["M"] * 20 + ["new"] * 40)
    assert distances.category_stability(reference, same)[0] < 0.02
    assert distances.category_stability(reference, other)[0] > 0.5


@pytest.mark.parametrize(("alpha", "degrees"), [(0.05, 9), (0.001, 9), (0.0001, 3)])
def test_chance_of_the_index_is_the_chi_squared_quantile(alpha, degrees):
    found = distances.stability_by_chance(degrees + 1, 140, 140, alpha)
    assert found == pytest.approx(stats.chi2.ppf(1 - alpha, degrees) * 2 / 140, rel=0.06)


def test_chance_of_the_distance_is_the_smirnov_quantile():
    assert distances.distance_by_chance(140, 140, 0.001) == pytest.approx(
        math.sqrt(-math.log(0.0005) / 2) * math.sqrt(2 / 140)
    )
    assert stats.kstwo.sf(distances.distance_by_chance(10**9, 140, 0.001) - distances.RANK_ERROR, 140) < 0.001


def test_chance_of_a_rate_narrows_with_rows():
    assert distances.rate_by_chance(0.0, 10_000, 20, 0.001) > 0.2
    assert distances.rate_by_chance(0.0, 10_000, 2000, 0.001) < 0.01
