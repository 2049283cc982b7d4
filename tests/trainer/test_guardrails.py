"""What the checks see, what they do, and how they are overruled."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainer.errors import (
    ColumnNameRefusedError,
    MissingColumnError,
    NoFeaturesError,
    OneClassError,
    TableError,
    TargetError,
    TooFewRowsError,
)
from trainer.guardrails.check import CheckedTable, Wishes, check_table
from trainer.guardrails.rail import Guardrail
from trainer.tables import read_table


def rail(checked: CheckedTable, check: str) -> Guardrail:
    return next(one for one in checked.guardrails if one.check == check)


def names(checked: CheckedTable) -> list[str]:
    return [column.name for column in checked.features]


def test_a_clean_table_passes(data_dir: Path) -> None:
    checked = check_table(read_table(data_dir / "ccpp" / "ccpp.csv.gz"), "PE", None)
    assert {one.check: one.state for one in checked.guardrails if one.state != "passed"} == {"duplicate rows": "done"}
    assert names(checked) == ["AT", "V", "AP", "RH"]
    assert checked.target.task == "regression"


def test_failure_modes_leak_the_failure_and_honest_sensors_do_not(data_dir: Path) -> None:
    checked = check_table(read_table(data_dir / "ai4i2020" / "ai4i2020.csv.gz"), "Machine failure", None)
    found = rail(checked, "target leakage")
    assert (found.state, found.columns) == ("done", ("TWF", "HDF", "PWF", "OSF"))
    assert "46 rows" in found.seen[0]
    assert "--keep TWF" in found.override
    assert rail(checked, "identifier columns").columns == ("UDI", "Product ID")
    honest = ["Type", "Air temperature [K]", "Process temperature [K]", "Rotational speed [rpm]", "Torque [Nm]"]
    assert names(checked) == [*honest, "Tool wear [min]", "RNF"]
    assert rail(checked, "class balance").state == "alerted"
    assert checked.target.classes == ("0", "1")


def test_what_is_kept_is_kept_and_alerted(data_dir: Path) -> None:
    table = read_table(data_dir / "ai4i2020" / "ai4i2020.csv.gz")
    checked = check_table(table, "Machine failure", None, Wishes(keep=["TWF"], drop=["RNF"]))
    assert "TWF" in names(checked)
    assert "RNF" not in names(checked)
    assert rail(checked, "target leakage").state == "alerted"
    assert "kept 'TWF' as asked" in rail(checked, "target leakage").done


@pytest.mark.parametrize("data", ["airfoil", "concrete", "credit_g", "phoneme", "steel_plates_faults", "vehicle"])
def test_honest_tables_lose_no_column_to_leakage(data_dir: Path, data: str) -> None:
    table = read_table(data_dir / data / f"{data}.csv.gz")
    assert rail(check_table(table, table.columns[-1], None), "target leakage").state == "passed"


def test_the_target_in_another_scale_leaks(plant: pd.DataFrame) -> None:
    plant["yield °F"] = plant["yield"] * 1.8 + 32
    plant["copy"] = plant["yield"]
    checked = check_table(plant, "yield", None)
    assert rail(checked, "target leakage").columns == ("yield °F", "copy")


def test_a_code_of_the_class_leaks(plant: pd.DataFrame) -> None:
    plant["code"] = np.where(plant["fault"] == "bad", 7.5, 2.5)
    plant["text"] = np.where(plant["fault"] == "bad", "NG", "OK")
    assert rail(check_table(plant, "fault", None), "target leakage").columns == ("code", "text")


def test_constants_and_identifiers_are_dropped(plant: pd.DataFrame) -> None:
    plant["always"] = 3
    plant["never"] = np.nan
    plant["row"] = range(10, 10 + len(plant))
    plant["shuffled"] = np.random.default_rng(0).permutation(len(plant))
    plant["serial"] = [f"SN-{number:05d}" for number in range(len(plant))]
    checked = check_table(plant, "yield", None)
    assert rail(checked, "constant columns").columns == ("always", "never")
    assert rail(checked, "identifier columns").columns == ("row", "shuffled", "serial")
    assert len(names(checked)) == 5


def test_points_in_time_are_used_as_what_comes_again_of_them(plant: pd.DataFrame) -> None:
    plant["at"] = pd.date_range("2022-01-01 10:00", periods=len(plant), freq="83h").astype(str)
    plant.loc[:2, "at"] = ["", "01.02.2024", "2024-01-01T10:00"]
    checked = check_table(plant, "yield", None)
    found = rail(checked, "date and time columns")
    assert (found.state, found.columns) == ("done", ("at",))
    assert found.done == "used the hour, weekday and day of year of 'at'"
    assert found.override == "--drop at"
    assert "must come on the line in the same form (2024-01-01 00:00)" in found.seen[0]
    assert found.seen[0].endswith("2 texts of another form are missing values")
    for check in ("identifier columns", "many categories", "drift within the table"):
        assert "at" not in rail(checked, check).columns


def test_points_in_time_are_dropped_with_the_reason_and_the_way_to_have_them(plant: pd.DataFrame) -> None:
    times = pd.date_range("2024-01-01 10:00", periods=len(plant), freq="min")
    plant["at"] = times
    plant["batch day"] = times.strftime("%d.%m.%Y")
    checked = check_table(plant, "yield", None)
    found = rail(checked, "date and time columns")
    assert (found.state, found.columns) == ("done", ("at", "batch day"))
    assert "such as '01.01.2024', which do not come again on the line" in found.seen[1]
    assert found.done == "dropped 'at', 'batch day'"
    assert found.override.startswith("--keep at (as categories), or put what matters (hour,")
    assert {"at", "batch day"}.isdisjoint(names(checked))


def test_a_point_in_time_that_is_wanted_becomes_categories(plant: pd.DataFrame) -> None:
    plant["day"] = ["2024-01-31", "2024-02-01"] * (len(plant) // 2)
    checked = check_table(plant, "yield", None, Wishes(keep=("day",)))
    assert rail(checked, "date and time columns").state == "alerted"
    assert "day" in names(checked)


def test_mixed_types_and_missing_values_are_told(plant: pd.DataFrame) -> None:
    plant["wear"] = plant["wear"].astype(object)
    plant.loc[:4, "wear"] = "n/c"
    checked = check_table(plant, "yield", None)
    assert rail(checked, "mixed types").state == "alerted"
    assert "5 texts among its numbers ('n/c')" in rail(checked, "mixed types").seen[0]
    assert rail(checked, "missing values").state == "done"
    assert rail(checked, "missing values").columns == ("wear", "grade, cut")


def test_unlabelled_rows_and_rare_classes_are_left_out(plant: pd.DataFrame) -> None:
    plant.loc[:9, "fault"] = None
    plant.loc[10:12, "fault"] = "odd"
    checked = check_table(plant, "fault", None)
    assert rail(checked, "labels").seen == ("10 rows have no value in 'fault'",)
    assert rail(checked, "rare classes").seen == ("class 'odd' has 3 rows",)
    assert len(checked.target.values) == len(plant) - 13
    assert checked.target.classes == ("bad", "good")


def test_many_categories_are_told(plant: pd.DataFrame) -> None:
    plant["lot"] = [f"lot {number // 2}" for number in range(len(plant))]
    assert rail(check_table(plant, "yield", None), "many categories").columns == ("lot",)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1, 2] * 20, "classification"),
        ([0.0, 1.0, None] * 20, "classification"),
        ([True, False, True] * 20, "classification"),
        (list(range(60)), "regression"),
        ([0.5, 1.5, 2.5] * 20, "regression"),
        (["a", "b", "c"] * 20, "classification"),
    ],
)
def test_the_task_follows_from_the_target(values: list[object], task: str) -> None:
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=60), "y": values})
    assert check_table(table, "y", None).target.task == task


@pytest.mark.parametrize(
    ("unique", "task", "state"), [(3, None, "alerted"), (30, None, "alerted"), (30, "x", "passed")]
)
def test_whole_numbers_that_may_be_codes_are_told(unique: int, task: str | None, state: str) -> None:
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300), "y": np.arange(300) % unique})
    checked = check_table(table, "y", "regression" if task else None)
    assert rail(checked, "task").state == state
    other = {"classification": "regression", "regression": "classification"}[checked.target.task]
    assert task or rail(checked, "task").override == f"--task {other}"


def few(plant: pd.DataFrame) -> pd.DataFrame:
    return plant.head(10)


def one_class(plant: pd.DataFrame) -> pd.DataFrame:
    return plant.assign(fault="good")


def nearly_one_class(plant: pd.DataFrame) -> pd.DataFrame:
    return plant.assign(fault=["bad"] * 3 + ["good"] * (len(plant) - 3))


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (few, TooFewRowsError, "10 rows have a value in the target 'fault'; at least 20 are needed"),
        (one_class, OneClassError, "has one class only ('good')"),
        (nearly_one_class, OneClassError, "every other has under 5 rows"),
        (lambda plant: plant.drop(columns="fault"), MissingColumnError, "'fault' is not a column of the table"),
        (lambda plant: plant.assign(fault=range(len(plant))).astype({"fault": str}), TargetError, None),
        (lambda plant: plant[["fault"]].assign(one=1), NoFeaturesError, "dropped: 'one'"),
        (lambda plant: plant.assign(prediction=plant["wear"]), ColumnNameRefusedError, "--drop 'prediction'"),
    ],
)
def test_what_cannot_be_learned_is_one_clear_line(
    plant: pd.DataFrame, spoil: object, error: type[TableError], says: str | None
) -> None:
    with pytest.raises(error) as caught:
        check_table(spoil(plant), "fault", "classification")  # type: ignore[operator]
    assert says is None or says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_target_is_no_regression(plant: pd.DataFrame) -> None:
    with pytest.raises(TargetError, match="--task classification"):
        check_table(plant, "fault", "regression")


@pytest.mark.parametrize("option", ["keep", "drop"])
def test_an_option_that_names_no_column_is_refused(plant: pd.DataFrame, option: str) -> None:
    with pytest.raises(MissingColumnError, match=f"--{option} 'torque'.*'Torque \\[Nm\\]'"):
        check_table(plant, "yield", None, Wishes(**{option: ["torque"]}))
