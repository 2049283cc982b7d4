"""What a search may release, and which of it: means, ties, limits."""

import numpy as np
import pytest
from simulators.tried import tried

from trainer.errors import LimitsError
from trainer.graph.encoded import Array
from trainer.limits import Limits
from trainer.metrics import METRICS, metric_named
from trainer.search.ensembling import best_means
from trainer.search.front import DOUBLING, FITS_GAIN, TIE, choice_of, choices, front, ranked
from trainer.search.trial import Tried

ROWS = 400
RMSE = metric_named("rmse")


def truth() -> Array:
    return np.random.default_rng(0).normal(0, 3, ROWS)


def complementary() -> list[Tried]:
    """Two models whose mistakes cancel out, and one that is worse than either."""
    random, wanted = np.random.default_rng(1), truth()
    wave = np.sin(np.arange(ROWS))
    return [
        tried("linear", wanted + wave, wanted),
        tried("boosted", wanted - wave, wanted, size_bytes=30_000, latency_ms=0.03),
        tried("forest", wanted + random.normal(0, 1.5, ROWS), wanted, size_bytes=900_000, latency_ms=0.2),
    ]


def test_a_mean_of_two_complementary_models_is_found() -> None:
    trials, wanted = complementary()[:2], truth()
    best = choices(trials, wanted, RMSE, 1)[0]
    assert sorted(member.family for member in best.members) == ["boosted", "linear"]
    assert best.loss < 0.1
    assert sum(best.weights) == pytest.approx(1.0)
    np.testing.assert_allclose(best.weights, 0.5, atol=0.05)
    np.testing.assert_allclose(best.seen()[:, 0], wanted, atol=0.2)


def test_weights_sum_to_one_and_the_same_call_gives_the_same() -> None:
    wanted = truth()
    first, again = (choices(complementary(), wanted, RMSE, 3) for _ in range(2))
    assert [one.weights for one in first] == [one.weights for one in again]
    assert [one.name for one in first] == [one.name for one in again]
    for one in first:
        assert sum(one.weights) == pytest.approx(1.0)
        assert min(one.weights) > 0


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].task == "classification"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_mean_is_found_by_every_metric_also_where_rows_of_a_class_are_few(name: str, classes: int) -> None:
    random, metric = np.random.default_rng(2), metric_named(name)
    wanted = np.minimum(np.arange(60) % 20, classes - 1)
    wanted[-5:] = 0
    right = np.eye(classes)[wanted]
    outputs = []
    for _ in range(4):
        noisy = right + random.uniform(0, 1.1, right.shape)
        outputs.append((noisy / noisy.sum(axis=1, keepdims=True)).astype(np.float32))
    pair, three = best_means(outputs, wanted, metric, [2, 3])
    assert np.isfinite(pair.luck)
    assert pair.weights.sum() == pytest.approx(three.weights.sum()) == pytest.approx(1.0)
    assert np.count_nonzero(pair.weights) <= 2
    assert np.count_nonzero(three.weights) <= 3


def test_a_smaller_mean_keeps_what_the_others_cannot_replace() -> None:
    random, wanted = np.random.default_rng(4), truth()
    wave, noise = np.sin(np.arange(ROWS)), random.normal(0, 0.3, (3, ROWS))
    outputs = [
        (wanted + wave + noise[0])[:, None],
        (wanted + wave + noise[1])[:, None],  # as good as the first, and as the first is wrong
        (wanted - 1.1 * wave + noise[2])[:, None],
    ]
    pair, three = best_means(outputs, wanted, RMSE, [2, 3])
    assert np.count_nonzero(three.weights) == 3
    assert pair.weights[2] > 0.3
    assert np.count_nonzero(pair.weights) == 2


def test_the_luck_of_a_choice_is_more_on_few_rows() -> None:
    random = np.random.default_rng(5)

    def luck(rows: int) -> float:
        wanted = random.normal(0, 1, rows)
        outputs = [(wanted + random.normal(0, 1, rows))[:, None] for _ in range(12)]
        return best_means(outputs, wanted, RMSE, [8])[0].luck

    assert luck(30) > 2 * luck(1500) >= 0.0


def test_the_simpler_model_wins_a_tie() -> None:
    wanted = truth()
    error = np.random.default_rng(3).normal(0, 1, ROWS)
    linear = tried("linear", wanted + error * (1 + TIE / 4), wanted)
    boosted = tried("boosted", wanted + error, wanted)
    assert ranked(choices([boosted, linear], wanted, RMSE, 1), Limits())[0].name == "linear"
    clearly = tried("linear", wanted + error * 1.1, wanted)
    assert ranked(choices([boosted, clearly], wanted, RMSE, 1), Limits())[0].name == "boosted"


def test_a_larger_choice_must_be_worth_its_bytes() -> None:
    wanted = truth()
    error = np.random.default_rng(3).normal(0, 1, ROWS)

    def released(size_bytes: int, worse: float) -> str:
        small = tried("forest", wanted + error * (1 + worse), wanted, size_bytes=100_000)
        large = tried("process", wanted + error, wanted, size_bytes=size_bytes)
        return ranked([choice_of([one], [1.0], 1, wanted, RMSE) for one in (large, small)], Limits())[0].name

    assert released(20_000_000, 2 * DOUBLING) == "forest"
    assert released(20_000_000, 10 * DOUBLING) == "process"
    assert released(200_000, 2 * DOUBLING) == "process"


def test_several_fits_are_taken_where_they_are_small() -> None:
    wanted = truth()
    error = np.random.default_rng(3).normal(0, 1, ROWS)

    def fits(size_bytes: int) -> int:
        one = tried("network", wanted + error, wanted, size_bytes=size_bytes)
        return ranked(choices([one], wanted, RMSE, 3), Limits())[0].fits

    assert (fits(20_000), fits(20_000_000)) == (3, 1)


def test_several_fits_earn_as_much_as_the_members_weigh_that_differ_by_them() -> None:
    wanted = truth()
    error = np.random.default_rng(3).normal(0, 1, ROWS)
    both = [tried("forest", wanted + error, wanted), tried("network", wanted - 0.5 * error, wanted)]

    def gain(weights: list[float]) -> float:
        one, three = (choice_of(both, weights, fits, wanted, RMSE) for fits in (1, 3))
        return (one.risk - three.risk) / one.loss

    assert gain([0.9, 0.1]) == pytest.approx(0.1 * FITS_GAIN)
    assert gain([0.1, 0.9]) == pytest.approx(0.9 * FITS_GAIN)


def test_several_fits_stand_on_the_front_beside_one() -> None:
    wanted = truth()
    one = tried("network", wanted + np.random.default_rng(3).normal(0, 1, ROWS), wanted)
    assert [choice.name for choice in front(choices([one], wanted, RMSE, 3))] == ["network", "network, 3 fits"]


def test_one_fit_is_on_one_processor() -> None:
    wanted = truth()
    slow, quick = tried("kernel", wanted, wanted, fit_s=4.0), tried("network", wanted, wanted, fit_s=0.5)
    both = choice_of([slow, quick], [0.5, 0.5], 5, wanted, RMSE)
    assert both.fit_s() == pytest.approx(4.0 + 5 * 0.5)
    assert both.fit_s(2) == pytest.approx(4.0)
    assert choice_of([quick], [1.0], 5, wanted, RMSE).fit_s(2) == pytest.approx(1.25)


def test_limits_exclude_what_is_beyond_any_of_them() -> None:
    found = choices(complementary(), truth(), RMSE, 1)
    for limits in (Limits(latency_ms=0.03), Limits(size_bytes=10_000), Limits(memory_bytes=10_200_000)):
        assert {one.name for one in ranked(found, limits)} == {"linear"}, limits
    assert ranked(found, Limits(latency_ms=1e-6)) == []
    assert len(ranked(found, Limits())) == len(found)


def test_the_front_holds_what_nothing_beats_and_the_least_loss() -> None:
    found = choices(complementary(), truth(), RMSE, 1)
    kept = front(found)
    assert found[0] in kept
    assert "linear" in {one.name for one in kept}  # the smallest
    assert "forest" not in {one.name for one in kept}  # worse, larger and slower than `linear`


def test_the_best_of_each_family_is_offered_however_many_of_others_are_better() -> None:
    wanted = truth()
    error = np.random.default_rng(3).normal(0, 1, ROWS)
    families = ("boosted", "forest", "process", "network", "kernel")
    better = [
        tried(family, wanted + error * (1 + place / 1000), wanted, {"place": place}, size_bytes=90_000)
        for family in families
        for place in range(12)
    ]
    poor = [tried(family, wanted + 3 * error, wanted) for family in ("linear", "additive")]
    found = choices([*better, *poor], wanted, RMSE, 1)
    assert {"linear", "additive", *families} <= {one.name for one in found}
    assert ranked(found, Limits(), "readable")[0].name == "linear"
    assert ranked(found, Limits(size_bytes=20_000))[0].name == "linear"


def test_a_much_smaller_model_of_a_family_is_offered_beside_its_best() -> None:
    wanted = truth()
    error = np.random.default_rng(3).normal(0, 1, ROWS)
    sizes = (500_000, 400_000, 60_000, 50_000, 9_000)
    trials = [
        tried("boosted", wanted + error * (1 + place / 10), wanted, {"leaves": size}, size_bytes=size)
        for place, size in enumerate(sizes)
    ]
    assert [one.size_bytes for one in choices(trials, wanted, RMSE, 1) if len(one.members) == 1] == [
        500_000, 60_000, 9_000,
    ]  # fmt: skip
    within = choices(trials, wanted, RMSE, 1, Limits(size_bytes=450_000))
    assert [one.size_bytes for one in within if len(one.members) == 1] == [500_000, 400_000, 60_000, 9_000]


def test_means_are_made_of_what_is_within_the_limits() -> None:
    wanted = truth()
    wave, error = np.sin(np.arange(ROWS)), np.random.default_rng(3).normal(0, 0.1, ROWS)
    large = [
        tried("forest", wanted + error * (1 + place / 1000), wanted, {"trees": place}, size_bytes=10**6)
        for place in range(12)
    ]
    small = [tried("linear", wanted + wave, wanted), tried("boosted", wanted - wave, wanted, size_bytes=5_000)]
    limits = Limits(size_bytes=10_000)
    best = ranked(choices([*large, *small], wanted, RMSE, 1, limits), limits)[0]
    assert sorted(member.family for member in best.members) == ["boosted", "linear"]
    alone = ranked(choices([*large, *small], wanted, RMSE, 1), limits)[0]
    assert alone.risk > best.risk


def test_equal_settings_that_were_tried_twice_are_one_model() -> None:
    wanted = truth()
    wave = np.sin(np.arange(ROWS))
    twice = [tried("process", wanted + wave, wanted, {"kernel": "rbf"}) for _ in range(3)]
    other = tried("boosted", wanted - 0.9 * wave, wanted)
    found = choices([*twice, other], wanted, RMSE, 1)
    for one in found:
        assert len({member.family for member in one.members}) == len(one.members)
    assert ranked(found, Limits())[0].name == "mean of 2"


def test_what_is_beyond_the_limits_is_told_with_the_nearest() -> None:
    error = LimitsError(Limits(0.5, 500_000, None), "linear with 0.7 ms a row")
    assert str(error) == (
        "no model that was found is within 0.5 ms a row, 500 kB; the nearest: linear with 0.7 ms a row: "
        "allow more, or search longer"
    )
