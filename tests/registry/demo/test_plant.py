"""The demo's plant: parts that share no row, in an order that drifts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry.demo.loop import plain
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
