"""Leaks: what knows the answer is found in whatever form it comes, and an honest sensor is not taken for it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainer.guardrails.check import CheckedTable, Wishes, check_table
from trainer.guardrails.rail import Guardrail

ROWS = 600
FAILS = np.arange(ROWS) % 12 == 0
Array = np.ndarray[Any, Any]


def leaks(table: pd.DataFrame, wishes: Wishes | None = None) -> Guardrail:
    return rail(check_table(table, "y", None, wishes), "target leakage")


def rail(checked: CheckedTable, check: str) -> Guardrail:
    return next(one for one in checked.guardrails if one.check == check)


def line(rows: int = ROWS) -> pd.DataFrame:
    """Two sensors, and a number above 0 that follows from them."""
    random = np.random.default_rng(5)
    x, z = random.normal(size=(2, rows))
    return pd.DataFrame({"x": x, "z": z, "y": 50 + 6 * x + random.normal(size=rows)})


def moments(rows: int = ROWS) -> pd.Series:
    """Points in time of which hour, weekday and day of the year come again."""
    return pd.Series(pd.date_range("2022-01-01 10:00", periods=rows, freq="83h").astype(str), dtype=object)


def some(kind: str) -> pd.Series:
    """Values of a column that has nothing to do with the target."""
    random = np.random.default_rng(8)
    if kind == "times":
        return moments()
    return pd.Series(random.normal(size=ROWS) if kind == "numbers" else random.choice(["a", "b", "c"], ROWS))


def failing() -> pd.DataFrame:
    return line().assign(y=np.where(FAILS, "failure", "ok"))


@pytest.mark.parametrize("kind", ["times", "numbers", "categories"])
def test_what_is_filled_in_for_failures_alone_leaks(kind: str) -> None:
    table = failing().assign(late=some(kind).where(FAILS))
    found = leaks(table)
    assert (found.state, found.columns, found.done) == ("done", ("late",), "dropped 'late'")
    assert "whenever it has a value (50 rows) the target is 'failure' in 100.0%, against 8.3%" in found.seen[0]
    assert leaks(table, Wishes(keep=["late"])).state == "alerted"


@pytest.mark.parametrize("kind", ["times", "numbers", "categories"])
def test_what_is_empty_for_failures_alone_leaks(kind: str) -> None:
    found = leaks(failing().assign(early=some(kind).where(~FAILS)))
    assert found.columns == ("early",)
    assert "whenever it has no value (50 rows) the target is 'failure'" in found.seen[0]


@pytest.mark.parametrize("kind", ["times", "numbers", "categories"])
def test_gaps_that_only_come_more_often_with_failures_do_not_leak(kind: str) -> None:
    gaps = np.random.default_rng(0).random(ROWS) < np.where(FAILS, 0.7, 0.05)
    assert leaks(failing().assign(sensor=some(kind).where(~gaps))).state == "passed"


def test_a_moment_tells_no_more_than_the_order_of_the_rows() -> None:
    kept = leaks(line().assign(at=moments(), y=np.where(np.arange(ROWS) < 400, "ok", "worn")))
    assert kept.state == "passed"
    assert leaks(line().assign(at=moments(), y=np.arange(ROWS) * 3.0)).state == "passed"
    shuffled = np.random.default_rng(1).permutation(ROWS)
    mixed = line().assign(at=moments(), y=np.where(np.arange(ROWS) < 400, "ok", "worn")).iloc[shuffled]
    assert leaks(mixed.reset_index(drop=True)).columns == ("at",)


@pytest.mark.parametrize(("share", "state"), [(1.0, "done"), (0.5, "passed")])
def test_among_many_classes_what_is_filled_in_for_all_of_one_and_no_other_leaks(share: float, state: str) -> None:
    labels = np.array(["a", "b", "c"])[np.arange(ROWS) % 3]
    filled = (labels == "c") & (np.arange(ROWS) < share * ROWS)
    found = leaks(line().assign(y=labels, late=some("numbers").where(filled)))
    assert found.state == state
    assert state == "passed" or "it has a value in all 200 rows whose target is 'c', and in no other" in found.seen[0]


@pytest.mark.parametrize("kind", ["times", "numbers", "categories"])
def test_what_is_filled_in_above_some_target_alone_leaks(kind: str) -> None:
    table = line().assign(y=lambda t: np.maximum(t["y"] - 55, 0))
    found = leaks(table.assign(stopped=some(kind).where(table["y"] > 0)))
    assert found.columns == ("stopped",)
    assert "wherever it has a value, and 0 to 0 in the " in found.seen[0]


def test_a_sensor_that_came_later_does_not_leak_a_target_that_only_rises() -> None:
    table = line().assign(y=np.linspace(0, 70, ROWS) ** 1.5)
    assert leaks(table.assign(new=some("numbers").where(np.arange(ROWS) > 300))).state == "passed"


@pytest.mark.parametrize(
    "form", [np.log, np.square, np.reciprocal, np.exp, lambda y: np.log(y).round(5), lambda y: -np.sqrt(y)]
)
def test_the_target_in_another_form_leaks(form: Callable[[Array], Array]) -> None:
    found = leaks(line().assign(form=lambda t: form(t["y"])))
    assert found.columns == ("form",)
    assert "it rises or falls with the target in every row" in found.seen[0]


@pytest.mark.parametrize("form", [np.square, np.reciprocal, np.abs])
def test_the_amount_of_a_target_of_both_signs_leaks(form: Callable[[Array], Array]) -> None:
    assert leaks(line().assign(y=lambda t: t["y"] - 50, form=lambda t: form(t["y"]))).columns == ("form",)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_strong_sensor_does_not_leak(noise: float) -> None:
    table = line().assign(sensor=lambda t: np.log(t["y"]))
    table["sensor"] += np.random.default_rng(1).normal(0, noise * table["sensor"].std(), ROWS)
    assert leaks(table).state == "passed"


def test_what_wears_while_the_target_falls_does_not_leak() -> None:
    rows = np.arange(ROWS)
    assert leaks(line().assign(y=100 - 0.15 * rows, wear=np.sqrt(rows + 0.5))).state == "passed"


def test_among_a_few_rows_the_same_order_does_not_leak() -> None:
    assert leaks(line(60).assign(form=lambda t: np.log(t["y"]))).state == "passed"


def test_a_moment_that_is_the_target_in_another_scale_leaks() -> None:
    hours = np.random.default_rng(2).uniform(0, 5000, ROWS)
    at = (pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h")).strftime("%Y-%m-%d %H:%M:%S")
    found = leaks(line().assign(y=hours, at=at))
    assert found.columns == ("at",)
    assert "it is the target in another scale (correlation 1.00000)" in found.seen[0]


def test_a_moment_that_stands_for_a_class_leaks() -> None:
    found = leaks(failing().assign(released=moments().mask(FAILS, "2099-12-31 00:00:00")))
    assert found.columns == ("released",)
    assert "it alone tells all 2 classes apart" in found.seen[0]


@pytest.mark.parametrize("fails", [FAILS, np.arange(ROWS) % 5 < 3])
def test_the_moments_of_failures_give_the_rows_no_order(fails: Array) -> None:
    checked = check_table(line().assign(y=np.where(fails, "failure", "ok"), failed=moments().where(fails)), "y", None)
    assert rail(checked, "time order").state == "passed"
    assert not checked.ordered
