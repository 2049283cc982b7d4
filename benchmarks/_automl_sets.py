"""The tables that trainers are compared on, and their splits: scikit-learn's own, and those of a folder of data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

Task = Literal["classification", "regression"]

#: Rows of each table that no tool learns from.
TEST_SHARE = 0.25
#: Seconds for each tool, unless the caller says otherwise.
BUDGETS_S = {"scikit-learn": 30.0, "factory": 60.0}


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table, features and target. A class is text; a missing value is NaN."""

    name: str
    task: Task
    target: str
    rows: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Split:
    """A table's two parts: what a tool learns from, and what it answers and never sees the target of."""

    table: Table
    seed: int
    train: pd.DataFrame
    test: pd.DataFrame
    truth: pd.Series

    def write_train(self, folder: Path) -> Path:
        self.train.to_csv(folder / "train.csv", index=False)
        return folder / "train.csv"

    def write_test(self, folder: Path) -> Path:
        self.test.to_csv(folder / "test.csv", index=False)
        return folder / "test.csv"


def split(table: Table, seed: int) -> Split:
    """Return the seed's split: a quarter is held out, of each class alike."""
    by_class = table.rows[table.target] if table.task == "classification" else None
    train, test = train_test_split(table.rows, test_size=TEST_SHARE, random_state=seed, stratify=by_class)
    return Split(table, seed, train, test.drop(columns=table.target), test[table.target])


def names_of(group: str) -> list[str]:
    return list(_SCIKIT_LEARN if group == "scikit-learn" else _FACTORY)


def budget_of(name: str) -> float:
    return BUDGETS_S["scikit-learn" if name in _SCIKIT_LEARN else "factory"]


def load(name: str, data: Path) -> Table:
    """Return a table by its name; those that scikit-learn does not bring lie in folders of `data`.

    Raises:
        FileNotFoundError: `data` does not hold it.
    """
    return _SCIKIT_LEARN[name]() if name in _SCIKIT_LEARN else _FACTORY[name](data)


def _of(name: str, task: Task, features: Any, target: Any, columns: Sequence[str]) -> Table:
    rows = pd.DataFrame(features, columns=list(columns))
    rows["target"] = [f"class {int(value)}" for value in target] if task == "classification" else target
    return Table(name, task, "target", rows)


def _bundled(name: str, task: Task, source: Callable[[], Any]) -> Callable[[], Table]:
    def read() -> Table:
        bunch = source()
        return _of(name, task, bunch.data, bunch.target, bunch.feature_names)

    return read


def _made(name: str, task: Task, source: Callable[[], tuple[Any, Any]]) -> Callable[[], Table]:
    def read() -> Table:
        features, target = source()
        return _of(name, task, features, target, [f"x{number}" for number in range(features.shape[1])])

    return read


def _file(
    name: str, task: Task, target: str, drop: Sequence[str] = (), missing: str | None = None
) -> Callable[[Path], Table]:
    def read(data: Path) -> Table:
        rows = pd.read_csv(data / name / f"{name}.csv.gz", na_values=missing).drop(columns=list(drop))
        if task == "classification":
            rows[target] = [f"class {value}" for value in rows[target]]
        return Table(name, task, target, rows)

    return read


_FAULTS = ("Pastry", "Z_Scratch", "K_Scatch", "Stains", "Dirtiness", "Bumps", "Other_Faults")


def _steel_plates(data: Path) -> Table:
    rows = pd.read_csv(data / "steel_plates_faults" / "steel_plates_faults.csv.gz")
    fault = rows[list(_FAULTS)].idxmax(axis=1)
    return Table("steel_plates_faults", "classification", "fault", rows.drop(columns=list(_FAULTS)).assign(fault=fault))


#: What is known only once a machine has failed, and what merely numbers the rows.
_MILL_DROPS = ("TWF", "HDF", "PWF", "OSF", "RNF", "UDI", "Product ID")

_SCIKIT_LEARN: dict[str, Callable[[], Table]] = {
    "breast_cancer": _bundled("breast_cancer", "classification", datasets.load_breast_cancer),
    "wine": _bundled("wine", "classification", datasets.load_wine),
    "digits": _bundled("digits", "classification", datasets.load_digits),
    "diabetes": _bundled("diabetes", "regression", datasets.load_diabetes),
    "hastie_10_2": _made(
        "hastie_10_2", "classification", lambda: datasets.make_hastie_10_2(n_samples=10_000, random_state=0)
    ),
    "friedman1": _made(
        "friedman1", "regression", lambda: datasets.make_friedman1(n_samples=5_000, noise=1.0, random_state=0)
    ),
}

_FACTORY: dict[str, Callable[[Path], Table]] = {
    "credit_g": _file("credit_g", "classification", "class"),
    "vehicle": _file("vehicle", "classification", "Class"),
    "blood_transfusion": _file(
        "blood_transfusion", "classification", "whether he/she donated blood in March 2007"
    ),
    "phoneme": _file("phoneme", "classification", "Class"),
    "churn": _file("churn", "classification", "Class"),
    "ai4i2020": _file("ai4i2020", "classification", "Machine failure", _MILL_DROPS),
    "steel_plates_faults": _steel_plates,
    "anneal": _file("anneal", "classification", "class", missing="?"),
    "concrete": _file("concrete", "regression", "Concrete compressive strength(MPa, megapascals)"),
    "airfoil": _file("airfoil", "regression", "Scaled sound pressure level [dB]"),
    "ccpp": _file("ccpp", "regression", "PE"),
}  # fmt: skip
