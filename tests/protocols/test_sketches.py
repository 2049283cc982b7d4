"""Sketches: merged is the same as one within the stated error, in whatever order; nothing unreadable is believed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import SketchError
from protocols.sketches import (
    CATEGORY_LIMIT,
    CategorySketch,
    CategorySummary,
    NumericSketch,
    NumericSummary,
)

#: Four times the normalised rank error of k = 140 at 99 % (1.9 %): what no random merge should ever exceed.
RANK_ERROR = 0.075

columns = st.lists(
    st.floats(width=32, allow_subnormal=False) | st.sampled_from([float("nan"), float("inf")]), max_size=60
)
texts = st.lists(
    st.sampled_from(["a", "a\x00", "\x00", "ночь", "日本", "", "x" * 80]) | st.text(max_size=6), max_size=40
)


def sketch(values, **limits):
    made = NumericSketch()
    made.update(np.asarray(values, dtype=np.float32), **limits)
    return made


def category_sketch(values, **limits):
    made = CategorySketch()
    made.update(values, **limits)
    return made


def counts(made):
    return made.count, made.missing, made.out_of_range


@given(st.lists(columns, max_size=6), st.randoms(use_true_random=False))
def test_merging_in_any_order_counts_as_one_sketch_does(parts, chance):
    whole = sketch([value for part in parts for value in part], low=-10.0, high=10.0)
    chance.shuffle(parts)
    merged = NumericSketch()
    for part in parts:
        merged.merge(sketch(part, low=-10.0, high=10.0))
    assert counts(merged) == counts(whole)
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-3 * max(1.0, whole.deviation))
    assert merged.deviation == pytest.approx(whole.deviation, rel=1e-6, abs=1e-6 * max(1.0, abs(whole.mean)))


@pytest.mark.parametrize("parts", [1, 7, 60])
@pytest.mark.parametrize("shape", ["normal", "exponential", "steps"])
def test_ranks_of_many_merged_windows_stay_within_the_error(parts, shape):
    chance = np.random.default_rng(parts)
    values = {
        "normal": chance.normal(20.0, 5.0, 30_000),
        "exponential": chance.exponential(3.0, 30_000),
        "steps": chance.integers(0, 12, 30_000).astype(float),
    }[shape].astype(np.float32)
    merged = NumericSketch()
    for part in np.array_split(values, parts):
        merged.merge(sketch(part))
    points = np.unique(np.quantile(values, np.linspace(0.02, 0.98, 25)))
    exact = np.array([(values <= point).mean() for point in points])
    assert np.abs(merged.cdf(points) - exact).max() < RANK_ERROR
    assert merged.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-6)
    assert merged.deviation == pytest.approx(values.astype(np.float64).std(), rel=1e-6)


@pytest.mark.parametrize("rows", [100, 100_000])
def test_a_summary_stays_under_two_kilobytes(rows):
    summary = sketch(np.random.default_rng(0).normal(size=rows)).summary()
    assert len(summary.kll) < 2048


@given(columns)
def test_a_numeric_summary_is_read_back(values):
    made = sketch(values, low=-1.0, high=1.0)
    again = NumericSketch.of(made.summary())
    assert again.summary() == made.summary()
    assert (counts(again), again.deviation) == (counts(made), made.deviation)


@given(columns)
def test_missing_and_infinite_are_counted_and_not_sketched(values):
    made = sketch(values)
    column = np.asarray(values, dtype=np.float32)
    assert made.missing == np.isnan(column).sum()
    assert made.out_of_range == np.isinf(column).sum()
    assert made.count == np.isfinite(column).sum()


def test_values_outside_the_trained_range_are_counted_and_sketched():
    made = sketch([-5.0, 0.0, 0.5, 1.0, 7.0], low=0.0, high=1.0)
    assert (made.count, made.out_of_range) == (5, 2)
    assert made.quantiles([0.0, 1.0]).tolist() == [-5.0, 7.0]


def test_a_range_that_float32_cannot_hold_exactly_counts_no_value_of_training():
    values = np.array([0.1, 0.7], dtype=np.float64)
    assert sketch(values, low=0.1, high=0.7).out_of_range == 0


def test_a_number_beyond_float32_is_out_of_range_and_no_warning():
    made = NumericSketch()
    made.update(np.array([1e300, -1e300, 1.0]))
    assert counts(made) == (1, 0, 2)


@given(columns, columns)
def test_merging_leaves_the_other_as_it_was(left, right):
    one, other = sketch(left), sketch(right)
    before = other.summary()
    one.merge(other)
    assert other.summary() == before


def test_an_empty_sketch_knows_nothing():
    assert np.isnan(NumericSketch().quantiles([0.5])).all()
    assert np.isnan(NumericSketch().cdf([0.5])).all()
    assert NumericSketch.of(NumericSketch().summary()).count == 0


@given(st.lists(texts, max_size=5), st.randoms(use_true_random=False))
def test_categories_merge_exactly_in_any_order_while_they_are_few(parts, chance):
    known = frozenset({"a", "b", "日本"})
    whole = category_sketch([value for part in parts for value in part], known=known)
    chance.shuffle(parts)
    merged = CategorySketch()
    for part in parts:
        merged.merge(category_sketch(part, known=known))
    assert (merged.count, merged.missing, merged.unseen) == (whole.count, whole.missing, whole.unseen)
    if len(whole.frequencies()) < 60:
        assert merged.frequencies() == whole.frequencies()


@given(texts)
def test_categories_are_counted_as_a_plain_count_does(values):
    made = category_sketch(values, known=frozenset({"a"}))
    present = [value for value in values if value]
    assert made.missing == len(values) - len(present)
    assert made.unseen == sum(value != "a" for value in present)
    cut = [value[:CATEGORY_LIMIT] for value in present]
    if len(set(cut)) < 60:
        assert made.frequencies() == {value: cut.count(value) for value in set(cut)}


@given(texts)
def test_a_category_summary_is_read_back(values):
    made = category_sketch(values)
    again = CategorySketch.of(made.summary())
    assert again.frequencies() == made.frequencies()
    assert (again.count, again.missing, again.unseen) == (made.count, made.missing, made.unseen)


def test_frequent_categories_survive_thousands_of_rare_ones():
    chance = np.random.default_rng(3)
    values = [*["often"] * 4000, *(f"serial-{number}" for number in range(6000))]
    chance.shuffle(values)
    merged = CategorySketch()
    for part in np.array_split(np.array(values, dtype=object), 20):
        merged.merge(category_sketch(part))
    frequencies = merged.frequencies()
    assert next(iter(frequencies)) == "often"
    assert frequencies["often"] == pytest.approx(4000, rel=0.1)
    assert len(merged.summary().items) < 12_000


@given(st.binary(max_size=80))
def test_bytes_that_are_no_sketch_are_refused(data):
    with pytest.raises(SketchError):
        NumericSketch.of(NumericSummary(data, 3, 0, 0, 0.0, 0.0))
    with pytest.raises(SketchError):
        CategorySketch.of(CategorySummary(data, 3, 0, 0))


@given(st.data())
def test_a_sketch_cut_short_is_refused(data):
    summary = sketch(range(500)).summary()
    cut = data.draw(st.integers(0, len(summary.kll) - 1))
    with pytest.raises(SketchError):
        NumericSketch.of(NumericSummary(summary.kll[:cut], summary.count, 0, 0, summary.mean, summary.m2))
    items = category_sketch([f"c{number}" for number in range(40)]).summary().items
    cut = data.draw(st.integers(0, len(items) - 1))
    with pytest.raises(SketchError):
        CategorySketch.of(CategorySummary(items[:cut], 40, 0, 0))


@given(st.data())
def test_altered_sketch_bytes_are_refused_or_harmless(data):
    """The library trusts the lengths inside; unchecked, a few altered bytes end the process that reads them."""
    values = np.random.default_rng(data.draw(st.integers(0, 9))).normal(
        size=data.draw(st.sampled_from([1, 3, 150, 4000]))
    )
    names = [f"c{number}" for number in range(data.draw(st.sampled_from([1, 40, 300])))]
    kll, items = bytearray(sketch(values).summary().kll), bytearray(category_sketch(names).summary().items)
    for target in (kll, items):
        for _ in range(data.draw(st.integers(1, 3))):
            target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 255))
    for count in (len(values), int.from_bytes(kll[8:16], "little")):
        try:
            read = NumericSketch.of(NumericSummary(bytes(kll), count, 0, 0, 0.0, 0.0))
        except SketchError:
            continue
        read.merge(sketch(values))
        assert np.isfinite(read.quantiles([0.0, 0.5, 1.0])).all()
    for count in (len(names), int.from_bytes(items[16:24], "little")):
        try:
            found = CategorySketch.of(CategorySummary(bytes(items), count, 0, 0))
        except SketchError:
            continue
        found.merge(category_sketch(names))
        assert found.frequencies()


@pytest.mark.parametrize("rows", [0, 1, 2, 139, 140, 141, 5000, 300_000])
@pytest.mark.parametrize("parts", [1, 9])
def test_every_sketch_of_ours_is_read_back(rows, parts):
    merged, names = NumericSketch(), CategorySketch()
    for part in np.array_split(np.random.default_rng(rows).normal(size=rows), parts):
        merged.merge(sketch(part))
        names.merge(category_sketch([f"c{int(value * 100)}" for value in part[:3000]]))
    assert NumericSketch.of(merged.summary()).summary() == merged.summary()
    assert CategorySketch.of(names.summary()).frequencies() == names.frequencies()


@pytest.mark.parametrize(
    "lie",
    [{"count": 9}, {"missing": -1}, {"out_of_range": -1}, {"mean": float("nan")}, {"m2": -1.0}, {"m2": float("nan")}],
)
def test_a_summary_that_contradicts_its_sketch_is_refused(lie):
    import msgspec

    with pytest.raises(SketchError):
        NumericSketch.of(msgspec.structs.replace(sketch([1, 2, 3]).summary(), **lie))
