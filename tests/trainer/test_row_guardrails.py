"""Checks of the rows: duplicates, time, groups, drift, and what they mean for the split."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainer.errors import MissingColumnError, RequestError, TargetError
from trainer.guardrails.check import CheckedTable, Wishes, check_table
from trainer.guardrails.rail import Guardrail
from trainer.splitting import Layout, divide, draw, folds

ROWS = 600
DRIFT = "drift within the table"


def rail(checked: CheckedTable, check: str) -> Guardrail:
    return next(one for one in checked.guardrails if one.check == check)


def still(rows: int = ROWS, seed: int = 3) -> pd.DataFrame:
    """A process that does not move: two sensors and what follows from them."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=(2, rows))
    return pd.DataFrame({"x": x, "z": z, "y": 2 * x + random.normal(0, 0.1, rows)})


def moving(rows: int = ROWS) -> pd.DataFrame:
    return still(rows).assign(z=lambda t: t["z"] + np.linspace(0, 4, rows))


def test_identical_rows_fall_on_one_side() -> None:
    table = pd.concat([still(300), still(300)], ignore_index=True).sample(frac=1, random_state=0, ignore_index=True)
    checked = check_table(table, "y", None)
    assert rail(checked, "duplicate rows").state == "done"
    assert "300 rows repeat the inputs of an earlier one, 300 of them with the same target" in str(checked.guardrails)
    learn, held_out = divide(checked, 0)
    assert not set(table["x"][learn]) & set(table["x"][held_out])
    assert len(held_out) == pytest.approx(120, abs=4)
    layout = Layout("regression", checked.groups)
    for seen, unseen in folds(checked.target.values, layout, 0):
        assert not set(table["x"][seen]) & set(table["x"][unseen])


def test_a_row_that_differs_in_one_cell_or_in_a_missing_one_is_another_row() -> None:
    table = pd.concat([still(100)] * 2, ignore_index=True)
    table["word"] = ["a"] * 100 + ["b"] * 100
    assert rail(check_table(table, "y", None), "duplicate rows").state == "passed"
    gone = pd.concat([still(100)] * 2, ignore_index=True)
    gone["z"] = [np.nan] * 100 + [0.0, 1.0] * 50
    assert rail(check_table(gone, "y", None), "duplicate rows").state == "passed"


def test_contradicting_labels_bound_what_any_model_can_do() -> None:
    table = pd.DataFrame({"a": [0, 1] * 200, "b": [0, 0, 1, 1] * 100})
    table["y"] = np.where(np.arange(400) < 360, table["a"], 1 - table["a"])
    found = rail(check_table(table, "y", None), "contradicting rows")
    assert found.state == "alerted"
    assert "more than 90.0% of the rows" in found.seen[0]


def test_scatter_of_a_number_over_the_same_inputs_is_told() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.integers(0, 5, 400), "y": random.normal(size=400)})
    assert rail(check_table(table, "y", None), "contradicting rows").state == "alerted"


def test_each_class_is_held_out_in_its_share_though_rows_repeat() -> None:
    table = pd.concat([still(250)] * 2, ignore_index=True)
    table["y"] = np.where(table["x"] > 1.2, "bad", "good")
    checked = check_table(table, "y", None)
    _, held_out = divide(checked, 0)
    everywhere = (checked.target.values == "bad").mean()
    assert (checked.target.values[held_out] == "bad").mean() == pytest.approx(everywhere, abs=0.03)


@pytest.mark.parametrize("values", [["u", "v"], [10.0, 11.0]])
def test_two_rows_over_and_over_cannot_be_divided(values: list[Any]) -> None:
    table = pd.DataFrame({"a": [0, 1] * 50, "y": values * 50})
    checked = check_table(table, "y", "classification" if values[0] == "u" else "regression", Wishes(keep=["a"]))
    with pytest.raises(TargetError, match="holds 2 different rows over and over, and at least 3 are needed"):
        divide(checked, 0)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%Y年%m月%d日"])
def test_where_a_process_moves_the_newest_rows_are_held_out(form: str) -> None:
    step = "D" if form.endswith("日") else "h"
    times = pd.date_range("2024-01-20", periods=ROWS, freq=step)
    table = moving().assign(at=times.strftime(form)).sample(frac=1, random_state=1, ignore_index=True)
    checked = check_table(table, "y", None)
    found = rail(checked, "time order")
    assert (found.state, found.columns, found.override) == ("done", ("at",), "--validate random")
    assert "along 'at' 'z' moved (median" in found.seen[0]
    assert rail(checked, DRIFT).state == "done"
    learn, held_out = divide(checked, 0)
    moments = pd.to_datetime(table["at"], format=form)
    newest = moments.to_numpy()[checked.target.rows]
    assert newest[learn].max() < newest[held_out].min()
    for seen, unseen in folds(checked.target.values, Layout("regression", None, True), 0):
        assert seen.max() < unseen.min()


def test_a_column_that_counts_the_rows_tells_their_order() -> None:
    checked = check_table(moving().assign(record=range(7, ROWS + 7)), "y", None)
    assert rail(checked, "time order").columns == ("record",)
    assert checked.ordered


def test_a_process_that_stands_still_is_divided_at_random() -> None:
    checked = check_table(still().assign(at=pd.date_range("2024-01-01", periods=ROWS, freq="h")), "y", None)
    assert rail(checked, "time order").state == "passed"
    assert not checked.ordered


def test_the_order_of_rows_without_a_time_is_told_and_not_acted_upon() -> None:
    checked = check_table(moving(), "y", None)
    assert rail(checked, DRIFT).state == "alerted"
    assert rail(checked, DRIFT).override == "--validate newest"
    assert not checked.ordered
    asked = check_table(moving(), "y", None, Wishes(validate="newest"))
    assert asked.ordered
    assert divide(asked, 0)[1].tolist() == list(range(480, 600))


def test_moments_that_few_rows_have_give_no_order() -> None:
    repaired = pd.Series(pd.date_range("2024-01-01", periods=ROWS, freq="h").astype(str), dtype=object)
    some = np.random.default_rng(0).random(ROWS) < 0.4
    table = still().assign(z=lambda t: t["z"] + np.linspace(0, 20, ROWS), repaired=repaired.where(some))
    checked = check_table(table, "y", None)
    assert rail(checked, "time order").state == "passed"
    assert not checked.ordered


def test_random_rows_are_held_out_where_that_is_asked_for() -> None:
    table = moving().assign(at=pd.date_range("2024-01-01", periods=ROWS, freq="h"))
    checked = check_table(table, "y", None, Wishes(validate="random"))
    assert rail(checked, "time order").state == "alerted"
    assert not checked.ordered


def test_a_class_that_only_the_newest_rows_have_keeps_the_split_random() -> None:
    table = moving().assign(at=pd.date_range("2024-01-01", periods=ROWS, freq="h"), y=["old"] * 500 + ["new"] * 100)
    checked = check_table(table, "y", None)
    assert not checked.ordered
    assert "the class 'new' is among the newest rows alone" in rail(checked, "time order").done


def test_a_sorted_table_is_no_drift() -> None:
    table = still().assign(y=["a"] * 300 + ["b"] * 300, z=lambda t: t["z"] + np.linspace(0, 2, ROWS))
    found = rail(check_table(table, "y", None), DRIFT)
    assert found.seen == ("the table is sorted by its target 'y', so its order says nothing of time",)


def test_a_named_group_is_never_on_both_sides() -> None:
    table = still().assign(machine=[f"M{number % 12}" for number in range(ROWS)])
    checked = check_table(table, "y", None, Wishes(group="machine"))
    assert "machine" not in [column.name for column in checked.features]
    assert rail(checked, "groups").state == "done"
    learn, held_out = divide(checked, 0)
    assert not set(table["machine"][learn]) & set(table["machine"][held_out])
    assert 60 <= len(held_out) <= 180
    assert divide(checked, 0)[1].tolist() == held_out.tolist()
    assert divide(checked, 5)[1].tolist() != held_out.tolist()


def test_columns_that_look_like_groups_are_alerted() -> None:
    table = still().assign(unit=np.arange(ROWS) // 30, lot=[f"L{number % 40}" for number in range(ROWS)])
    found = rail(check_table(table, "y", None), "groups")
    assert (found.state, found.columns) == ("alerted", ("unit", "lot"))
    assert found.override == "--group unit"
    assert rail(check_table(still().assign(number_of_calls=np.arange(ROWS) % 9), "y", None), "groups").state == "passed"


@pytest.mark.parametrize(
    ("wishes", "error", "says"),
    [
        (Wishes(group="none"), MissingColumnError, "--group 'none'"),
        (Wishes(group="y"), RequestError, "is the target"),
        (Wishes(group="half"), RequestError, "has 2 groups; at least 5"),
        (Wishes(group="x", validate="newest"), RequestError, "in two ways"),
    ],
)
def test_a_group_that_cannot_divide_is_refused(wishes: Wishes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        check_table(still().assign(half=np.arange(ROWS) % 2), "y", None, wishes)


def test_rows_drawn_for_a_short_budget_are_the_newest_of_a_series() -> None:
    checked = check_table(moving(), "y", None, Wishes(validate="newest"))
    learn, _ = divide(checked, 0)
    assert draw(learn, checked, 100, 0).tolist() == list(range(380, 480))


def test_a_class_of_one_row_is_in_every_draw() -> None:
    table = still().assign(kind=[*["rare"] * 12, *["often", "seldom", "often"] * ROWS][:ROWS]).drop(columns="y")
    checked = check_table(table, "kind", None)
    learn = np.delete(np.arange(ROWS), np.arange(1, 12))
    for limit in (100, 300):
        drawn = draw(learn, checked, limit, 0)
        assert len(drawn) == len(set(drawn.tolist())) == limit
        told = checked.target.values[drawn]
        assert 0 in drawn
        assert (told == checked.target.values[13]).mean() == pytest.approx(1 / 3, abs=0.02)


def shared(table: pd.DataFrame, learn: Any, held_out: Any) -> int:
    """How many different inputs are on both sides."""
    sides = [set(zip(table["x"][rows], table["z"][rows], strict=True)) for rows in (learn, held_out)]
    return len(sides[0] & sides[1])


def by_machine() -> pd.DataFrame:
    return still().assign(machine=[f"M{number % 12}" for number in range(ROWS)])


def test_groups_that_share_rows_are_on_one_side_together() -> None:
    table = by_machine()
    table.loc[[1, 26], ["x", "z"]] = table.loc[[12, 13], ["x", "z"]].to_numpy()  # M1 is M0's, and M2 is M1's
    checked = check_table(table, "y", None, Wishes(group="machine"))
    repeated, found = rail(checked, "duplicate rows"), rail(checked, "groups")
    assert (repeated.state, found.state) == ("done", "done")
    assert "never both" in repeated.done
    assert found.seen == ("'machine' has 12 groups, as asked",)
    assert found.done.startswith("groups that share identical rows go together, which leaves 10; each group is either")
    for seed in range(8):
        learn, held_out = divide(checked, seed)
        assert shared(table, learn, held_out) == 0
        assert not set(table["machine"][learn]) & set(table["machine"][held_out])


@pytest.mark.parametrize(
    "alike",
    [
        [range(12)],  # all are one group
        [range(3), range(3, 6), range(6, 9), range(9, 12)],  # ... or four
        [range(7)],  # one has more than half of the rows
    ],
)
def test_groups_that_cannot_go_together_though_they_share_rows_are_told(alike: list[range]) -> None:
    table = by_machine()
    for rows in alike:
        table.loc[list(rows), ["x", "z"]] = table.loc[rows[0], ["x", "z"]].to_numpy()
    checked = check_table(table, "y", None, Wishes(group="machine"))
    found = rail(checked, "duplicate rows")
    assert found.state == "alerted"
    assert f"{sum(map(len, alike))} rows have the same inputs as a row of another group of 'machine'" in found.done
    assert "the same rows may be both learned from and held out" in found.done
    assert "divide by another --group" in found.override
    sides = [divide(checked, seed) for seed in range(8)]
    assert not any(set(table["machine"][learn]) & set(table["machine"][held_out]) for learn, held_out in sides)
    assert any(shared(table, learn, held_out) for learn, held_out in sides)


def test_a_repeated_row_of_one_group_changes_no_group() -> None:
    table = by_machine()
    table.loc[12, ["x", "z"]] = table.loc[0, ["x", "z"]].to_numpy()
    checked = check_table(table, "y", None, Wishes(group="machine"))
    assert rail(checked, "groups").done.startswith("each group is either learned from or held out")
    assert len(set(checked.groups.tolist())) == 12  # type: ignore[union-attr]


def test_groups_by_long_numbers_are_told_apart() -> None:
    table = still().assign(order=4_500_000_001 + np.arange(ROWS) // 50)
    checked = check_table(table, "y", None, Wishes(group="order"))
    assert rail(checked, "groups").seen == ("'order' has 12 groups, as asked",)
    learn, held_out = divide(checked, 0)
    assert not set(table["order"][learn]) & set(table["order"][held_out])


def test_older_rows_that_come_again_among_the_newest_are_left_out() -> None:
    table = still()
    table.loc[595:, ["x", "z"]] = table.loc[:4, ["x", "z"]].to_numpy()
    checked = check_table(table, "y", None, Wishes(validate="newest"))
    found = rail(checked, "duplicate rows")
    assert (found.state, found.override) == ("done", "--validate random, which keeps the same rows on one side")
    assert found.done == "left out 5 older rows that come again among the newest, which are held out"
    learn, held_out = divide(checked, 0)
    assert shared(table, learn, held_out) == 0
    assert learn.tolist() == list(range(5, 480))


def test_too_many_older_rows_that_come_again_are_kept_and_told() -> None:
    table = still(100)
    table = pd.concat([table] * 6, ignore_index=True)
    checked = check_table(table, "y", None, Wishes(validate="newest"))
    found = rail(checked, "duplicate rows")
    assert found.state == "alerted"
    assert "480 of the 480 older rows come again among the newest" in found.done
    assert "the same rows are both learned from and held out" in found.done
    assert found.override.startswith("--validate random, which keeps the same rows on one side")
    assert shared(table, *divide(checked, 0)) == 100
    asked = check_table(table, "y", None, Wishes(validate="random"))
    assert "never both" in rail(asked, "duplicate rows").done
    assert shared(table, *divide(asked, 0)) == 0


@pytest.mark.parametrize("word", [False, True])
def test_a_sensor_that_falls_silent_is_drift(word: bool) -> None:
    there = np.arange(ROWS) < 400
    table = still().assign(s=lambda t: np.where(t["z"] > 0, "up", "down") if word else t["z"] ** 3)
    table["s"] = table["s"].where(there)
    found = rail(check_table(table, "y", None), DRIFT)
    assert (found.state, found.columns) == ("alerted", ("s",))
    assert found.seen == ("from the first to the last third 's' lacks 0.0% of its values, then 100.0%",)
    assert found.done.endswith("; where s has no value it is learned from as missing")
    assert found.override == "--validate newest, or --drop s"
    timed = table.assign(at=pd.date_range("2024-01-01", periods=ROWS, freq="h"))
    ordered = check_table(timed, "y", None)
    assert ordered.ordered
    assert rail(ordered, DRIFT).override == "--validate random, or --drop s"


def test_gaps_that_stay_as_many_are_no_drift() -> None:
    gaps = np.random.default_rng(0).random(ROWS) < 0.4
    table = still().assign(s=lambda t: t["z"].where(~gaps) ** 3)
    assert rail(check_table(table, "y", None), DRIFT).state == "passed"


def test_a_number_that_moves_while_its_sensors_stand_still_is_drift() -> None:
    found = rail(check_table(still().assign(y=lambda t: t["y"] + 3 * (t.index >= 400)), "y", None), DRIFT)
    assert (found.state, found.columns, found.override) == ("alerted", ("y",), "--validate newest")
    assert "from the first to the last third 'y' moved (median" in found.seen[0]


def test_classes_that_come_more_often_in_the_end_are_drift() -> None:
    shares = np.where(np.arange(ROWS) < 400, 0.05, 0.6)
    labels = np.where(np.random.default_rng(0).random(ROWS) < shares, "bad", "good")
    found = rail(check_table(still().assign(y=labels), "y", None), DRIFT)
    assert (found.state, found.columns) == ("alerted", ("y",))
    assert "'y' moved ('bad' " in found.seen[0] or "'y' moved ('good' " in found.seen[0]
    assert rail(check_table(still().assign(y=np.sort(labels)), "y", None), DRIFT).state == "passed"


def test_the_newest_rows_held_out_as_asked_can_be_had_otherwise() -> None:
    asked = check_table(still(), "y", None, Wishes(validate="newest"))
    assert rail(asked, "time order").override == "--validate random"


@pytest.mark.parametrize(
    ("seconds", "newest"),
    [
        (1_700_000_000 + np.arange(ROWS), range(480, 600)),  # counts the rows
        (1_700_000_599 - np.arange(ROWS), range(119, -1, -1)),  # ... from the last one on
        (1_700_000_000 + np.arange(ROWS) // 2, range(480, 600)),  # two rows a second
    ],
)
def test_epoch_seconds_tell_the_order_of_the_rows(seconds: Any, newest: range) -> None:
    checked = check_table(moving().assign(time=seconds), "y", None)
    assert rail(checked, "time order").columns == ("time",)
    assert checked.ordered
    assert checked.target.rows[divide(checked, 0)[1]].tolist() == list(newest)
