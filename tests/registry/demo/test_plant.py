"""The demo's plant: parts that share no row, in an order that drifts."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genba
from protocols.payloads import Prediction
from registry.demo.line import Answer, Reading
from registry.demo.loop import Historian, plain
from registry.demo.plant import PlantError, power_plant, read_plant


def table(rows: int = 2000) -> pd.DataFrame:
    random = np.random.default_rng(3)
    hot = random.uniform(0, 40, rows)
    return pd.DataFrame({"id": range(rows), "hot": hot, "noise": random.normal(size=rows), "fault": (hot > 30) * 1})


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    table().to_csv(tmp_path / "My Table.csv", index=False)
    return tmp_path / "My Table.csv"


def test_the_power_plant_is_the_whole_set() -> None:
    readings = power_plant()
    assert readings.shape == (9568, 5)
    assert readings["power [MW]"].between(420.26, 495.76).all()


def test_the_parts_share_no_row_and_lose_none() -> None:
    plant = read_plant(None, None)
    parts = (plant.history, plant.before, plant.drifted, plant.after)
    assert sum(map(len, parts)) == 9568
    order = plant.ordered_by
    assert max(plant.history[order].max(), plant.before[order].max()) <= plant.drifted[order].min()
    assert plant.before[order].mean() == pytest.approx(plant.history[order].mean(), rel=0.05)
    assert plant.after[order].mean() == pytest.approx(plant.drifted[order].mean(), rel=0.05)


def test_an_own_table_is_ordered_by_what_moves_with_its_target(csv: Path) -> None:
    plant = read_plant(csv, "fault")
    assert (plant.name, plant.ordered_by, plant.classification) == ("my-table", "hot", True)


@pytest.mark.parametrize(
    ("target", "words"), [(None, "--target"), ("absent", "no column 'absent'; it has 'id', 'hot'")]
)
def test_a_target_that_is_not_there_is_named(csv: Path, target: str | None, words: str) -> None:
    with pytest.raises(PlantError, match=words):
        read_plant(csv, target)


def test_a_short_table_says_how_many_rows_it_needs(tmp_path: Path) -> None:
    table(50).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(PlantError, match=r"50 rows; .* at least 600"):
        read_plant(tmp_path / "t.csv", "fault")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"none\.csv: there is no such file"):
        read_plant(tmp_path / "none.csv", "fault")


def test_missing_values_travel_as_null() -> None:
    assert plain({"a": float("nan"), "b": 1.5, "c": "x"}) == {"a": None, "b": 1.5, "c": "x"}


def test_columns_that_number_the_rows_in_any_order_are_not_what_drifts(tmp_path: Path) -> None:
    own = table()
    own["serial"] = (own["hot"].rank() * 10).astype(int)  # follows the answer, and tells nothing
    own["at"] = pd.date_range("2024-01-01", periods=len(own), freq="min")
    own.to_parquet(tmp_path / "own.parquet")
    plant = read_plant(tmp_path / "own.parquet", "fault")
    assert plant.ordered_by == "hot"


def test_a_row_with_times_is_a_message_all_the_same() -> None:
    frame = pd.DataFrame({"at": [pd.Timestamp("2024-01-31 10:15"), pd.NaT], "day": [date(2024, 1, 31), None]})
    first, second = (plain(record) for record in frame.to_dict("records"))
    assert first == {"at": "2024-01-31T10:15:00", "day": "2024-01-31"}
    assert second == {"at": None, "day": None}


def test_a_report_that_could_not_be_written_is_told_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "none" / "report.json"):
        assert genba.main(["demo", "--data", str(tmp_path / "no.csv"), "--target", "x", "--report", str(path)]) == 1
        assert f"--report {path} cannot be written" in capsys.readouterr().err


def test_the_historian_labels_a_row_once_however_often_the_line_sends_it(csv: Path) -> None:
    plant = read_plant(csv, "fault")
    historian = Historian(None, None, plant, "m")  # type: ignore[arg-type]
    readings = [Reading("line-1", "after", {"hot": float(n % 3)}, 0) for n in range(9)]
    answers = [Answer(reading, Prediction(0, "m", 1, number)) for number, reading in enumerate(readings)]
    assert len(historian._new_rows(answers)) == 3
    assert historian._new_rows(answers) == []
    other = Answer(Reading("line-1", "after", {"hot": 0.0}, 1), Prediction(0, "m", 1, 9))
    assert len(historian._new_rows([other])) == 1, "another truth is another row"


@pytest.mark.parametrize("arguments", [["--data", "x.csv"], ["--target", "x"]])
def test_a_table_without_its_target_is_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        genba.main(["demo", *arguments])
    assert caught.value.code == 2
    assert "go together" in capsys.readouterr().err
