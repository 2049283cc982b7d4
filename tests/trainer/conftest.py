"""Small tables of a made-up plant, and one trained candidate that several suites read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from protocols.manifest import Manifest
from trainer.request import TrainRequest
from trainer.train import train

ROWS = 240


def plant_table(rows: int = ROWS, seed: int = 1) -> pd.DataFrame:
    """Sensors with awkward names, missing values and a category; `yield` follows from them, `fault` is a class."""
    random = np.random.default_rng(seed)
    torque = random.normal(40, 8, rows)
    heat = random.normal(300, 2, rows)
    wear = random.uniform(0, 250, rows)
    grade = random.choice(["L", "M", "H", "加工"], rows, p=[0.5, 0.3, 0.15, 0.05])
    output = 5 + 0.4 * torque - 0.03 * wear + 3 * (grade == "H") + random.normal(0, 0.5, rows)
    fault = np.where(torque + 0.05 * wear + random.normal(0, 3, rows) > 48, "bad", "good")
    table = pd.DataFrame(
        {
            "Torque [Nm]": torque.round(2),
            "Air temp. (°C); line 1/2": heat.round(2),
            "wear": wear.round(0),
            "grade, cut": grade,
            "yield": output,
            "fault": fault,
        }
    )
    table.loc[random.choice(rows, 20, replace=False), "wear"] = np.nan
    table.loc[random.choice(rows, 12, replace=False), "grade, cut"] = None
    return table


@pytest.fixture
def plant() -> pd.DataFrame:
    return plant_table()


@pytest.fixture(scope="session")
def many_rows() -> pd.DataFrame:
    """The same plant for as long as the suite runs; not to be changed."""
    return plant_table(300)


@pytest.fixture(scope="session")
def regression_candidate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("regression") / "candidate"
    request = TrainRequest(plant_table(), "yield", "plant-yield", budget_s=30, drop=("fault",), trials=3, seed=7)
    return out, train(request, out)


@pytest.fixture(scope="session")
def class_candidate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("classification") / "candidate"
    request = TrainRequest(plant_table(), "fault", "plant-fault", budget_s=30, drop=("yield",), trials=3, seed=7)
    return out, train(request, out)
