"""What the comparison of trainers calls best, tied and behind; and how runs of several days become one table."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from _automl_results import Result, append, current, done, read
from _automl_tables import print_costs, print_errors, standings
from automl_peers import EPSILON, log_loss, rmse


def result(tool: str = "genba", seed: int = 1, value: float | None = 0.5, **fields: object) -> Result:
    """A run; without a value one that failed."""
    known = {
        "version": "1",
        "set": "wine",
        "budget_s": 30.0,
        "metric": "log_loss",
        "load": 0.1,
        "cores": 2,
        "at": "now",
    }
    measured = {"wall_s": 31.0, "cpu_s": 40.0, "peak_bytes": 10**8, "size_bytes": 1000, "latency_ms": 0.5}
    outcome = {"error": f"{tool} did not learn"} if value is None else measured
    return Result(**{"tool": tool, "seed": seed, "value": value, **known, **outcome, **fields})


def test_the_lowest_mean_is_best_and_one_that_differs_by_chance_is_tied() -> None:
    found = standings(
        {
            "a": {1: 0.50, 2: 0.60, 3: 0.70},
            "b": {1: 0.48, 2: 0.66, 3: 0.69},  # +0.01 in the mean, which varies by more over the seeds
            "c": {1: 0.51, 2: 0.61, 3: 0.71},  # +0.01 with each seed
        }
    )
    assert {tool: each.place for tool, each in found.items()} == {"a": "best", "b": "tied", "c": "behind"}
    assert found["a"].mean == pytest.approx(0.6)
    assert found["a"].rank == pytest.approx((2 + 1 + 2) / 3)


def test_one_seed_alone_ties_nobody_but_equals() -> None:
    found = standings({"a": {1: 0.5}, "b": {1: 0.5}, "c": {1: 0.50001}})
    assert [found[tool].place for tool in "abc"] == ["best", "tied", "behind"]
    assert found["a"].rank == found["b"].rank == 1.5


def test_only_splits_that_every_tool_has_run_are_judged() -> None:
    assert standings({"a": {1: 0.5, 2: 0.1}, "b": {1: 0.4}})["a"].place == "behind"
    assert standings({"a": {1: 0.5}, "b": {2: 0.4}}) == {}


def test_a_tool_that_failed_is_last_and_never_tied(capsys: pytest.CaptureFixture[str]) -> None:
    found = standings({"a": {1: math.inf, 2: 0.1}, "b": {1: 0.4, 2: 0.2}})
    assert found["b"].place == "best"
    assert found["a"].place == "behind"
    runs = [result("genba", value=None), result("flaml")]
    print_errors("sets", runs, ["genba", "flaml"])
    print_costs(runs, ["genba", "flaml"])
    told = capsys.readouterr().out
    assert "failed" in told
    assert "0.5000 *" in told


def test_log_loss_is_of_the_class_that_came_true() -> None:
    answers = pd.DataFrame({"no": [0.8, 0.3], "yes": [0.2, 0.7]})
    assert log_loss(pd.Series(["no", "yes"]), answers) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)


def test_a_class_without_a_column_and_a_certainty_that_was_wrong_cost_the_same() -> None:
    truth = pd.Series(["rare"])
    left_out = log_loss(truth, pd.DataFrame({"no": [0.6], "yes": [0.4]}))
    denied = log_loss(truth, pd.DataFrame({"no": [0.6], "rare": [0.0], "yes": [0.4]}))
    assert left_out == denied == pytest.approx(-math.log(EPSILON))


def test_rmse_is_in_the_targets_unit() -> None:
    truth = pd.Series([1.0, 2.0], index=[7, 3])
    assert rmse(truth, pd.DataFrame({"prediction": [1.0, 5.0]})) == pytest.approx(math.sqrt(4.5))


def test_a_killed_benchmark_goes_on_and_tries_again_what_failed(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    append(file, result(seed=1))
    append(file, result(seed=2, value=None))
    with file.open("a") as out:
        out.write(json.dumps(asdict(result(seed=3)))[:40])
    append(file, result(seed=4))
    assert {key[3] for key in done(read(file))} == {1, 4}


def test_a_busy_machines_figures_can_be_taken_again(tmp_path: Path) -> None:
    lines = [result(seed=1, load=7.5), result(seed=2, load=1.9), result(seed=3, load=8.0), result(seed=3, load=2.0)]
    assert {key[3] for key in done(lines, most_load=2.5)} == {2, 3}
    assert {key[3] for key in done(lines)} == {1, 2, 3}


def test_versions_of_a_tool_are_not_mixed_and_days_of_several_tools_are() -> None:
    lines = [
        result("flaml", value=0.4),
        result("genba", seed=1, value=0.9),
        result("genba", seed=2, value=0.9),
        result("genba", seed=1, value=None, version="2"),
        result("genba", seed=1, value=0.3, version="2"),
    ]
    assert [(one.tool, one.value) for one in current(lines)] == [("flaml", 0.4), ("genba", 0.3)]
    first = lines[1].version
    assert [(one.tool, one.value) for one in current(lines, first)] == [("flaml", 0.4), ("genba", 0.9), ("genba", 0.9)]
