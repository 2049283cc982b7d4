"""The search in bad cases: no memory, no time, no extra, an impatient person, failing families."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulators.first_settings import starts
from simulators.inline_workers import FailingWorkers, InlineWorkers
from simulators.materials import material_of, open_greedy_bench, truth_of
from simulators.tried import tried

from trainer.errors import SearchFailedError
from trainer.families import FAMILIES
from trainer.limits import Limits
from trainer.metrics import metric_named
from trainer.search.journal import Journal, Proposal
from trainer.search.loop import BATCH, Plan, Search, waves
from trainer.search.material import Material, save_material
from trainer.search.trial import LONGEST_S, Bench, try_out
from trainer.workers import LocalWorkers, Workers

#: Families of the extra `boosting`.
EXTRA = {"lightgbm", "xgboost", "catboost"}


@pytest.fixture(scope="module")
def material(many_rows: pd.DataFrame) -> Material:
    return material_of(many_rows.drop(columns="fault"), "yield")


def search_of(material: Material, workers: Workers, folder: Path, plan: Plan) -> Search:
    journal = Journal(folder / "trials", 0)
    metric = metric_named("rmse")
    return Search(workers, journal, material.shape, truth_of(material), metric, plan, lambda text, share: None)


def passing(seconds: float) -> Callable[[], float]:
    """What is left of so many looks at the clock."""
    left = [seconds]

    def left_s() -> float:
        left[0] -= 1
        return left[0]

    return left_s


def test_a_trial_that_allocates_too_much_is_a_failed_trial(material: Material, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="the second family that is tried")
    save_material(tmp_path, material)
    with LocalWorkers(1, partial(open_greedy_bench, tmp_path), 512 * 1024 * 1024) as workers:
        search = search_of(material, workers, tmp_path, Plan(None, 60.0, 2))
        found = search.run()
    assert [one.family for one in found] == ["linear"]
    (failure,) = search.failures
    assert "lightgbm: it needs more memory than a worker may have" in failure


@pytest.mark.parametrize("trials", [None, 6])
def test_a_person_who_wants_an_end_before_the_first_trial_still_gets_a_model(
    material: Material, tmp_path: Path, trials: int | None
) -> None:
    first = starts(material.shape)[0][0]
    workers = FailingWorkers(Bench(material), {first})
    left = None if trials else lambda: 1000.0
    found = search_of(material, workers, tmp_path, Plan(left, 60.0, trials, interrupted=lambda: True)).run()
    assert found
    assert first not in {one.family for one in found}


def test_many_workers_and_no_time_still_give_a_model(material: Material, tmp_path: Path) -> None:
    workers = FailingWorkers(Bench(material), set(), size=8, busy=30)
    assert search_of(material, workers, tmp_path, Plan(passing(12.0), 60.0)).run()


def test_where_every_family_fails_the_reasons_are_told(material: Material, tmp_path: Path) -> None:
    workers = FailingWorkers(Bench(material), set(FAMILIES))
    with pytest.raises(SearchFailedError, match="linear: it needs more memory than a worker may have"):
        search_of(material, workers, tmp_path, Plan(passing(12.0), 60.0)).run()


def test_without_the_extra_the_portfolio_is_whole(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("lightgbm", "xgboost", "catboost", "boosted"):
        monkeypatch.setattr(f"trainer.families.{module}.find_spec", lambda name: None)
    proposed = [family for family, _ in starts(material.shape)]
    assert set(FAMILIES) - set(proposed) == EXTRA
    assert proposed.count("boosted") == 4
    journal = Journal(tmp_path, 0)
    drawn = [journal.propose(starts(material.shape), material.shape).family for _ in range(len(proposed) + 6)]
    assert not EXTRA & set(drawn)


class NotingWorkers(InlineWorkers):
    """Workers that note for how long each call may run."""

    def __init__(self, material: Bench) -> None:
        super().__init__(material)
        self.limits: list[float | None] = []

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        self.limits.append(limit_s)
        return super().start(call, *args, limit_s=limit_s)


def test_where_the_clock_decides_even_the_first_trial_must_end(material: Material, tmp_path: Path) -> None:
    workers = NotingWorkers(Bench(material))
    search_of(material, workers, tmp_path, Plan(passing(9.0), 9.0)).run()
    assert workers.limits[0] == LONGEST_S
    assert all(limit is not None and limit < 9.0 for limit in workers.limits[1:])
    without = NotingWorkers(Bench(material))
    search_of(material, without, tmp_path / "by_number", Plan(None, 9.0, 2)).run()
    assert without.limits == [None, None]


def test_progress_tells_the_best_so_far(material: Material, tmp_path: Path) -> None:
    told: list[str] = []
    search = search_of(material, InlineWorkers(Bench(material)), tmp_path, Plan(None, 60.0, BATCH + 1))
    search.progress = lambda text, share: told.append(text)
    search.run()
    assert "best so far" not in told[0]
    first = min(search.journal.finished[:BATCH], key=lambda one: one.loss or 0.0)
    assert told[-1].endswith(f", best so far {first.family} with rmse {first.loss:.4g}")


def test_trials_beyond_the_limits_are_no_bar_to_smaller_ones(material: Material, tmp_path: Path) -> None:
    truth = truth_of(material)
    close, far = truth + 0.01, truth + np.random.default_rng(0).normal(0, 5, len(truth))
    later = Proposal(99, *waves(material.shape)[1][0])

    def bar(limits: Limits) -> float:
        search = search_of(material, InlineWorkers(None), tmp_path / repr(limits), Plan(None, 60.0, 9, limits=limits))
        for place in range(4):
            search.journal.finished += [
                tried("forest", close, truth, {"trees": place}, size_bytes=10**6),
                tried("linear", far, truth, {"strength": place}, size_bytes=1000),
            ]
        return search._bar(later)

    assert bar(Limits(size_bytes=10_000)) > bar(Limits())


class SlowWorkers(InlineWorkers):
    """Workers for which one family would always take too long."""

    def __init__(self, material: Bench, slow: str) -> None:
        super().__init__(material)
        self.slow = slow
        self.tried: list[str] = []

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        self.tried.append(args[0])
        return super().start(call, *args[:-1], -1.0 if args[0] == self.slow else args[-1], limit_s=limit_s)


def test_a_trial_that_would_take_too_long_ends_after_its_first_fold(material: Material) -> None:
    (parameters, *_) = FAMILIES["linear"].starts(material.shape)
    bench = Bench(material)
    ended = try_out(bench, "linear", parameters, "rmse", float("inf"), 1e-9)
    assert ended.loss is None
    assert len(ended.losses) == 1
    assert len(try_out(bench, "linear", parameters, "rmse", float("inf"), 1e9).losses) == len(material.folds)


def test_a_family_that_would_take_too_long_is_tried_once(material: Material, tmp_path: Path) -> None:
    workers = SlowWorkers(Bench(material), "kernel")
    found = search_of(material, workers, tmp_path, Plan(passing(90.0), 1e6)).run()
    assert workers.tried.count("kernel") == 1
    assert [family for family, _ in starts(material.shape)].count("kernel") > 1
    assert "kernel" not in {one.family for one in found}
    assert len(found) > len(FAMILIES)


def test_later_starts_come_in_the_order_of_how_good_the_first_were(material: Material, tmp_path: Path) -> None:
    first, second, *_ = waves(material.shape)
    workers = SlowWorkers(Bench(material), "")
    found = search_of(material, workers, tmp_path, Plan(None, 60.0, len(first) + len(second))).run()
    begun = workers.tried
    assert begun[: len(first)] == [family for family, _ in first]
    best = {one.family: one.loss for one in found if (one.family, one.parameters) in first}
    # A batch is proposed before the last ones have ended, so that the first of the second wave may not know of them.
    later = begun[len(first) + BATCH : len(first) + len(second)]
    assert later == sorted(later, key=lambda family: best[family])
    assert set(begun[len(first) :]) == {family for family, _ in second}


def test_another_start_that_begins_badly_ends_there(material: Material, tmp_path: Path) -> None:
    search = search_of(material, InlineWorkers(Bench(material)), tmp_path, Plan(None, 60.0, 6))
    first, second = (dict(wave)["linear"] for wave in waves(material.shape)[:2])
    assert search._bar(Proposal(0, "linear", first)) == float("inf")
    assert search._bar(Proposal(0, "linear", second)) == float("inf"), "nothing is known yet"
    search.run()
    losses = [one.losses[0] for one in search.journal.finished]
    assert search._bar(Proposal(0, "linear", first)) == float("inf")
    assert search._bar(Proposal(0, "linear", second)) == pytest.approx(1.5 * np.median(losses))


def test_the_first_model_may_take_as_long_as_it_needs(material: Material, tmp_path: Path) -> None:
    workers = InlineWorkers(Bench(material))
    assert search_of(material, workers, tmp_path, Plan(passing(9.0), 1e-6)).run()


def test_an_end_before_its_time_leaves_nothing_running(material: Material, tmp_path: Path) -> None:
    workers = InlineWorkers(Bench(material), size=3)
    asked = [0]

    def interrupted() -> bool:
        asked[0] += 1
        return asked[0] > 6

    found = search_of(material, workers, tmp_path, Plan(lambda: 1000.0, 60.0, interrupted=interrupted)).run()
    assert found
    assert workers.wait(0.0) == []
