"""Run by a peer's own interpreter, without this project: fit on one file, or answer the rows of another.

`fit` leaves a model in the current folder, and says which versions made it. `answer` writes answers.csv, one column per
class or `prediction`, and measures the model: its size as it would be deployed, and one row's latency, in memory, warm.
"""

import argparse
import json
import pickle
import statistics
import string
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

WARM, TIMED = 20, 200
PACKAGES = ("pandas", "numpy", "scikit-learn", "onnxruntime", "lightgbm", "xgboost", "xgboost-cpu", "catboost", "torch")


class Flaml:
    """FLAML with its defaults. It wants columns named by letters."""

    name, model = "flaml", Path("flaml.pickle")

    def fit(self, table: pd.DataFrame, options: argparse.Namespace) -> None:
        from flaml import AutoML

        automl = AutoML()
        automl.fit(
            _lettered(table.drop(columns=options.target)), table[options.target],
            task=options.task, metric="log_loss" if options.task == "classification" else "rmse",
            time_budget=options.budget, n_jobs=options.cores, seed=options.seed, log_file_name="", verbose=0,
        )  # fmt: skip
        with self.model.open("wb") as file:
            pickle.dump(automl, file, pickle.HIGHEST_PROTOCOL)

    def load(self) -> None:
        with self.model.open("rb") as file:
            self._automl = pickle.load(file)  # noqa: S301  (written by `fit` in this very folder)

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        return _lettered(table)

    def answer(self, rows: pd.DataFrame, task: str) -> pd.DataFrame:
        if task == "regression":
            return pd.DataFrame({"prediction": self._automl.predict(rows)})
        return pd.DataFrame(self._automl.predict_proba(rows), columns=list(self._automl.classes_))

    def call(self, row: pd.DataFrame, task: str) -> None:
        (self._automl.predict if task == "regression" else self._automl.predict_proba)(row)

    def size_bytes(self) -> int:
        return self.model.stat().st_size


class AutoGluon:
    """AutoGluon's tabular predictor with the preset `medium_quality`, kept in memory where it answers."""

    name, model = "autogluon.tabular", Path("autogluon")

    def fit(self, table: pd.DataFrame, options: argparse.Namespace) -> None:
        from autogluon.tabular import TabularPredictor

        classes = table[options.target].nunique()
        kind = "regression" if options.task == "regression" else "binary" if classes == 2 else "multiclass"
        metric = "root_mean_squared_error" if options.task == "regression" else "log_loss"
        predictor = TabularPredictor(
            options.target, problem_type=kind, eval_metric=metric, path=str(self.model), verbosity=1
        )
        predictor.fit(
            table, presets="medium_quality", time_limit=options.budget, num_cpus=options.cores, num_gpus=0
        )  # fmt: skip

    def load(self) -> None:
        from autogluon.tabular import TabularPredictor

        self._predictor = TabularPredictor.load(str(self.model))
        self._deployed = Path(self._predictor.clone_for_deployment("deployed"))
        self._predictor = TabularPredictor.load(str(self._deployed))
        self._predictor.persist()

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        return table

    def answer(self, rows: pd.DataFrame, task: str) -> pd.DataFrame:
        if task == "regression":
            return pd.DataFrame({"prediction": self._predictor.predict(rows)})
        return self._predictor.predict_proba(rows)

    def call(self, row: pd.DataFrame, task: str) -> None:
        (self._predictor.predict if task == "regression" else self._predictor.predict_proba)(row)

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._deployed.rglob("*") if path.is_file())


TOOLS = {"flaml": Flaml, "autogluon": AutoGluon}


def _lettered(table: pd.DataFrame) -> pd.DataFrame:
    letters = string.ascii_lowercase
    names = ["c" + letters[number // 676] + letters[number // 26 % 26] + letters[number % 26] for number in
             range(len(table.columns))]  # fmt: skip
    return table.set_axis(names, axis=1)


def latency_ms(call, row: pd.DataFrame, task: str) -> float:  # type: ignore[no-untyped-def]
    """Return the median of one row's time, after some that are not counted."""
    took = []
    for _ in range(WARM + TIMED):
        began = time.perf_counter()
        call(row, task)
        took.append(time.perf_counter() - began)
    return statistics.median(took[WARM:]) * 1e3


def versions(tool: str) -> dict[str, str]:
    found = {}
    for name in (tool, *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("step", choices=["fit", "answer"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--task", choices=["classification", "regression"], required=True)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    tool = TOOLS[options.tool]()
    table = pd.read_csv(options.file)
    if options.step == "fit":
        tool.fit(table, options)
        return
    tool.load()
    rows = tool.features(table)
    tool.answer(rows, options.task).to_csv("answers.csv", index=False)
    figures = {
        "size_bytes": tool.size_bytes(),
        "latency_ms": latency_ms(tool.call, rows.iloc[[0]], options.task),
        "packages": versions(tool.name),
    }
    Path("figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
