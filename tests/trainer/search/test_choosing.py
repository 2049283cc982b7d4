"""From what was found to what is released: the next one where a fit or an export fails, and honest figures."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulators.first_settings import starts
from simulators.inline_workers import FailingWorkers, InlineWorkers, train_inline

from protocols.manifest import Manifest
from protocols.measuring import DeviceFigures
from protocols.recipe import Member, Recipe
from trainer.errors import ExportError, LimitsError, RequestError, SearchFailedError
from trainer.families import Parameters
from trainer.graph.blend import Blend, write_graph
from trainer.limits import Limits
from trainer.metrics import metric_named
from trainer.report import Report, decode_report
from trainer.request import TrainRequest
from trainer.search.boards import Boards
from trainer.search.choosing import HURRIED_S, PROOFS, Candidates, Fitting, choose
from trainer.search.final_fit import fit_members
from trainer.search.front import choices
from trainer.search.preparation import Prepared, prepare
from trainer.search.selection import of_fitted, select
from trainer.search.trial import Bench, try_out
from trainer.train import train

FOUND = ("linear", "process", "kernel", "lightgbm")


def starts_of(prepared: Prepared) -> dict[str, Parameters]:
    """The first settings of each family."""
    best: dict[str, Parameters] = {}
    for family, parameters in starts(prepared.material.shape):
        best.setdefault(family, parameters)
    return best


def silent(text: str, share: float) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def request_(many_rows: pd.DataFrame) -> TrainRequest:
    return TrainRequest(many_rows, "yield", "plant", budget_s=30, drop=("fault",), trials=4)


@pytest.fixture(scope="module")
def prepared(request_: TrainRequest) -> Prepared:
    return prepare(request_)


@pytest.fixture(scope="module")
def bench(prepared: Prepared) -> Bench:
    return Bench(prepared.material)


@pytest.fixture(scope="module")
def candidates(prepared: Prepared, bench: Bench) -> Candidates:
    best = starts_of(prepared)
    trials = [try_out(bench, name, best[name], "rmse", np.inf) for name in FOUND if name in best]
    truth = np.concatenate([prepared.material.target[validate] for _, validate in prepared.material.folds])
    return Candidates(trials, truth, metric_named("rmse"))


def test_where_the_best_cannot_be_fitted_on_all_rows_the_next_is(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    linear, process = candidates.trials[:2]
    poor = dataclasses.replace(linear, seen=linear.seen[::-1], loss=9.0)
    two = Candidates([poor, process], candidates.truth, candidates.metric)
    fitting = Fitting(FailingWorkers(bench, {"process"}), None, silent)
    found = choose(request_, prepared, two, fitting, None)
    assert [member.family for member in found.proven.recipe.members] == ["linear"]
    assert found.proven.certificate.passed


def test_where_nothing_can_be_fitted_the_reason_is_told(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    fitting = Fitting(FailingWorkers(bench, set(FOUND)), None, silent)
    with pytest.raises(SearchFailedError, match="it needs more memory than a worker may have"):
        choose(request_, prepared, candidates, fitting, None)


def test_the_simplest_is_the_last_resort(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    linear, *others = candidates.trials
    poor = dataclasses.replace(linear, seen=linear.seen[::-1], loss=9.0)
    offered = choices([poor, *others], candidates.truth, candidates.metric, prepared.division.fits)
    assert "linear" not in {one.name for one in offered[:PROOFS]}

    def only_linear(blend: Blend, *args: object) -> bytes:
        if len(blend.parts) > 1 or blend.parts[0].kind != "scaled":
            raise ExportError("no converter")
        return write_graph(blend, *args)  # type: ignore[arg-type]

    worse = Candidates([poor, *others], candidates.truth, candidates.metric)
    found = choose(request_, prepared, worse, Fitting(InlineWorkers(bench), None, silent, only_linear), None)
    assert found.choice.name == "linear"
    assert len(found.refused) == PROOFS - 1


def test_every_member_is_fitted_before_any_is_fitted_twice(bench: Bench, candidates: Candidates) -> None:
    ticks = itertools.count()
    members = [Member(one.family, one.parameters, one.settled, 0.3, (0, 1, 2)) for one in candidates.trials[:3]]
    fitted = fit_members(InlineWorkers(bench), members, lambda: 5.0 - next(ticks))
    assert [one.member.seeds for one in fitted] == [(0, 1), (0,), (0,)]


def test_what_a_recipe_names_is_fitted_from_its_seeds(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    network = try_out(bench, "network", starts_of(prepared)["network"], "rmse", np.inf)
    member = Member(network.family, network.parameters, network.settled, 1.0, (0, 2))
    named = Candidates([network], candidates.truth, candidates.metric, (member,))
    found = choose(request_, prepared, named, Fitting(InlineWorkers(bench), None, silent), None)
    assert found.proven.recipe.members == (member,)
    first, both = (
        fit_members(InlineWorkers(bench), [Member("network", network.parameters, {}, 1.0, seeds)], None)[0]
        for seeds in ((0,), (0, 2))
    )
    assert not np.array_equal(first.answers[0], both.answers[0])


def test_figures_are_of_the_members_that_were_fitted_in_time(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    ticks = itertools.count()
    fitting = Fitting(InlineWorkers(bench), lambda: -1.0 if next(ticks) else 1.0, silent)
    trials = list(candidates.trials)
    members = tuple(Member(one.family, one.parameters, one.settled, 1 / len(trials), (0,)) for one in trials)
    mean = dataclasses.replace(candidates, members=members)
    found = choose(request_, prepared, mean, fitting, None)
    assert len(found.choice.members) > len(found.proven.recipe.members) == 1
    family = found.proven.recipe.members[0].family
    (alone,) = [one for one in candidates.trials if one.family == family]
    np.testing.assert_allclose(found.selected.held_out, alone.held_out[:, 0])


def test_the_members_that_were_fitted_are_found_again_by_their_order(candidates: Candidates) -> None:
    choice = max(choices(candidates.trials, candidates.truth, candidates.metric, 1), key=lambda one: len(one.members))
    selected = select(choice, candidates.truth, (), None, None)
    kept = choice.members[1:]
    members = tuple(Member(one.family, one.parameters, one.settled, 1.0, (0,)) for one in kept)
    found = of_fitted(selected, choice, Recipe(members))
    weights = np.array(choice.weights[1:]) / sum(choice.weights[1:])
    wanted = sum(weight * one.held_out[:, 0].astype(float) for weight, one in zip(weights, kept, strict=True))
    np.testing.assert_allclose(found.held_out, wanted, rtol=1e-6)


def test_where_the_time_is_over_what_comes_next_is_what_is_fitted_soonest(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    linear, process, *others = candidates.trials
    quick = dataclasses.replace(linear, seen=linear.seen[::-1], loss=9.0, fit_s=1e-6)
    slow = [dataclasses.replace(one, fit_s=2 * HURRIED_S) for one in (process, *others)]
    three = Candidates([quick, *slow], candidates.truth, candidates.metric)
    ticks = itertools.count()

    def only_linear(blend: Blend, *args: object) -> bytes:
        if len(blend.parts) > 1 or blend.parts[0].kind != "scaled":
            raise ExportError("no converter")
        return write_graph(blend, *args)  # type: ignore[arg-type]

    fitting = Fitting(InlineWorkers(bench), lambda: 1.0 if next(ticks) < 2 else -1.0, silent, only_linear)
    found = choose(request_, prepared, three, fitting, None)
    assert found.choice.name == "linear"
    assert len(found.refused) == 1


def test_a_graph_that_became_larger_than_its_trials_says_so_of_the_others(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    linear, process = candidates.trials[:2]
    close = dataclasses.replace(process, size_bytes=1_000)  # its graph will have more than ten times that
    small = dataclasses.replace(linear, seen=linear.seen[::-1], loss=9.0, size_bytes=10)
    next_best = dataclasses.replace(close, family="kernel", seen=process.seen + np.float32(0.01), size_bytes=900)
    asked = dataclasses.replace(request_, limits=Limits(size_bytes=8_000))
    three = Candidates([close, next_best, small], candidates.truth, candidates.metric)
    found = choose(asked, prepared, three, Fitting(InlineWorkers(bench), None, silent), None)
    assert "kernel" in {one.name for one in found.offered}
    assert found.choice.name == "linear"
    assert len(found.refused) == 1  # what would be as large was not fitted in vain


def test_where_nothing_readable_was_found_that_is_said(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    asked = dataclasses.replace(request_, prefer="readable")
    process = Candidates(candidates.trials[1:2], candidates.truth, candidates.metric)
    with pytest.raises(RequestError, match=r"person can read whole \(linear or additive\) was found: search longer"):
        choose(asked, prepared, process, Fitting(InlineWorkers(bench), None, silent), None)


class Board:
    """A board that takes graphs of so many bytes, or is away."""

    def __init__(self, most_bytes: int, *, away: bool = False) -> None:
        self.most_bytes, self.away = most_bytes, away
        self.seen: list[int] = []

    def __call__(self, graph: bytes, golden: bytes) -> list[DeviceFigures]:
        self.seen.append(len(graph))
        if self.away:
            return [DeviceFigures(device="pi-1", profile="pi", outcome="expired", reason="it was not heard of")]
        if len(graph) > self.most_bytes:
            return [
                DeviceFigures(device="pi-1", profile="pi", outcome="refused", check="memory", reason="it has no room"),
                DeviceFigures(device="pi-2", profile="pi", outcome="measured", latency_p50_ms=0.1, memory_bytes=10**6),
            ]
        return [DeviceFigures(device="pi-1", profile="pi", outcome="measured", latency_p50_ms=0.1, memory_bytes=10**6)]


def test_what_a_board_refuses_gives_way_to_what_is_smaller(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    fitting = Fitting(InlineWorkers(bench), None, silent)
    linear, process = candidates.trials[:2]
    poor = dataclasses.replace(linear, seen=linear.seen[::-1], loss=9.0)
    two = Candidates([poor, process], candidates.truth, candidates.metric)
    first = choose(request_, prepared, two, fitting, None)
    board = Board(len(first.proven.graph) - 1)
    boards = Boards(board, Limits())
    found = choose(request_, prepared, two, fitting, boards)
    assert found.choice.name == "linear"
    assert found.choice.size_bytes < first.choice.size_bytes
    assert found.refused == (f"{first.choice.name}: pi-1 refuses it: it has no room",)
    assert len(board.seen) == 2
    assert [one.outcome for one in boards.figures] == ["refused", "measured", "measured"]


def test_where_a_board_takes_nothing_its_reasons_are_told(
    request_: TrainRequest, prepared: Prepared, bench: Bench, candidates: Candidates
) -> None:
    boards = Boards(Board(0), Limits())
    with pytest.raises(RequestError, match=r"no board takes .*pi-1 refuses it: it has no room.*give --max-size"):
        choose(request_, prepared, candidates, Fitting(InlineWorkers(bench), None, silent), boards)


def test_where_no_board_answers_the_trials_are_kept(
    many_rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_inline(monkeypatch)
    request = TrainRequest(many_rows, "yield", "plant", budget_s=30, drop=("fault",), trials=2)
    with pytest.raises(RequestError, match=r"no board measured the model \(pi-1: it was not heard of\)"):
        train(request, tmp_path / "out", measure=Board(0, away=True))
    manifest = train(request, tmp_path / "out", measure=Board(10**9))
    report = _report_of(manifest, tmp_path / "out")
    assert {rail.check for rail in report.guardrails if rail.state == "done"} >= {"resumed"}
    assert [one.outcome for one in report.boards] == ["measured"]


def _report_of(manifest: Manifest, out: Path) -> Report:
    assert manifest.parity.passed
    return decode_report((out / "report.json").read_bytes())


def test_limits_that_nothing_meets_are_told_with_the_nearest_by_these_limits(
    request_: TrainRequest, many_rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_inline(monkeypatch)
    limits = Limits(size_bytes=100, memory_bytes=10**9)
    request = TrainRequest(many_rows, "yield", "plant", budget_s=30, drop=("fault",), trials=2, limits=limits)
    with pytest.raises(LimitsError, match=r"within 0\.1 kB, 1e\+03 MB of memory; the nearest: linear with .* kB"):
        train(request, tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["out.search"]
    looser = dataclasses.replace(request, limits=Limits(size_bytes=10**9))
    report = _report_of(train(looser, tmp_path / "out"), tmp_path / "out")
    assert len(report.trials) == 2
    assert {rail.check for rail in report.guardrails if rail.state == "done"} >= {"resumed"}
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("limits", [Limits(size_bytes=6000), Limits(latency_ms=5.0)])
def test_what_is_released_is_within_the_limits(
    many_rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    train_inline(monkeypatch)
    request = TrainRequest(many_rows, "yield", "plant", budget_s=30, drop=("fault",), trials=3, limits=limits)
    manifest = train(request, tmp_path / "out")
    assert limits.size_bytes is None or (tmp_path / "out" / "model.onnx").stat().st_size <= limits.size_bytes
    assert manifest.parity.passed
    assert decode_report((tmp_path / "out" / "report.json").read_bytes()).trials
