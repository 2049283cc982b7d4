"""A trained model in Python: it answers by its proven ONNX graph, and shows what the run found."""

import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score

from trainer.candidate import read_candidate, write_candidate
from trainer.challenge import Score, true_values
from trainer.challenge import score as measure
from trainer.errors import CandidateError, MissingColumnError, RequestError, TooFewRowsError
from trainer.explain.alternatives import as_table as changes_table
from trainer.explain.alternatives import goal_of, likeliest_other
from trainer.explain.counterfactuals import counterfactuals
from trainer.explain.explained_rows import Rows, beside, input_columns, usual_columns
from trainer.explain.explanation import alarm_place, explain
from trainer.explain.reasons import as_table
from trainer.graphs import open_graph, run_graph, to_feed
from trainer.report import decode_report, describe
from trainer.sdk import result_tables
from trainer.sdk.given import Tabular, names_of, seconds_of, table_of
from trainer.sdk.notebook import Page, Pictures, card_page, pictures, summary_page
from trainer.sdk.registries import known
from trainer.targets import labels_as_text

Array = np.ndarray[Any, Any]
#: Rows that the graph sees at once, and pairs of walks of a row that is explained.
BATCH_ROWS, WALKS = 16_384, 128


class TrainedModel:
    """A release candidate on disk, with the methods that scikit-learn's models have.

    What it predicts comes from the ONNX graph that a device runs. A table is a pandas DataFrame, anything that has
    `to_pandas`, a mapping of columns, or the path of a CSV or Parquet file; columns that the model does not take are
    ignored. Models of windows, images or state can be looked at and published, and do not predict here.

    Args:
        folder: of the candidate.
        keeper: a temporary folder that is removed when this object is gone.

    Attributes:
        folder: what `genba train --out` writes.
        manifest: what the release says of itself (`protocols.manifest.Manifest`).
        report: what the run saw, did and found (`trainer.report.Report`).

    Raises:
        CandidateError: the folder is no candidate, or was edited.
    """

    def __init__(self, folder: Path | str, keeper: Path | None = None) -> None:
        if keeper is not None:
            weakref.finalize(self, shutil.rmtree, keeper, ignore_errors=True)
        self.folder = Path(folder)
        self.manifest = read_candidate(self.folder)
        try:
            self.report = decode_report((self.folder / "report.json").read_bytes())
        except (OSError, ValueError) as error:
            raise CandidateError(f"{self.folder}: report.json: {error}; give a folder that training made") from error

    @property
    def classes_(self) -> Array:
        """The classes as `predict` gives them, in the order of `predict_proba`; a regression has none."""
        whole = self.manifest.outputs[0].dtype == "int64"
        return np.array(self.manifest.classes, dtype=np.int64 if whole else object)

    @property
    def metrics(self) -> dict[str, float]:
        """Figures on rows that were held out."""
        return dict(self.report.metrics)

    @property
    def guardrails(self) -> pd.DataFrame:
        """The checks of the data: what was seen, what was done, and how to have it otherwise."""
        return result_tables.guardrails(self.report)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The models that were tried, the best first."""
        return result_tables.leaderboard(self.report)

    @property
    def front(self) -> pd.DataFrame:
        """The models that none other beats in loss, latency, size and memory, by entry; `chosen` is this one."""
        return result_tables.front(self.report)

    @property
    def importance(self) -> pd.DataFrame:
        """What drives the prediction, most first."""
        return result_tables.importance(self.manifest)

    @property
    def card(self) -> Page:
        """The model card, as a notebook shows it; the folder has it as card.html and card.md."""
        return card_page(self.manifest, self.report)

    @property
    def plots(self) -> Pictures:
        """The card's plots."""
        return pictures(self.manifest, self.report)

    def predict(self, table: Tabular) -> Array:
        """Return the prediction for each row, shape (rows,): numbers, or classes.

        Raises:
            TableError: the table lacks an input, or has text where a number is needed.
            RequestError: the model does not take plain columns.
        """
        return self._run(table_of(table))[0].reshape(-1)

    def predict_proba(self, table: Tabular) -> Array:
        """Return the probability of each class, shape (rows, classes), in the order of `classes_`.

        Raises:
            RequestError: it is a regression.
            TableError: as `predict`.
        """
        if self.manifest.task != "classification":
            raise RequestError(f"{self.manifest.model!r} is a regression, which has no probabilities: use predict")
        return self._run(table_of(table))[1]

    def score(self, table: Tabular) -> float:
        """Return the share of right answers, or R² of a regression, on the rows of a table that have a target.

        Raises:
            TableError: the table lacks an input or the target, or no row has a target.
        """
        rows = table_of(table)
        target = self.manifest.target
        if target not in rows.columns:
            raise MissingColumnError("the target", target, rows.columns)
        truth, labelled = true_values(self.manifest, rows[target])
        if not len(labelled):
            raise TooFewRowsError(0, 1, target)
        answers = self._run(rows.iloc[labelled])[0].reshape(-1)
        if self.manifest.task == "regression":
            return float(r2_score(truth, answers))
        return float(np.mean(np.array(labels_as_text(answers), dtype=object) == truth))

    def evaluate(self, table: Tabular) -> Score:
        """Return every figure on the rows of a table that have a target; `value` is the metric, lower is better.

        Raises:
            TableError: as `score`.
        """
        return measure(self.manifest, self._graph, table_of(table))

    def explain(
        self, rows: Tabular, *, background: Tabular | None = None, time_limit: float | str = "30s"
    ) -> pd.DataFrame:
        """Return why rows are answered so: a line for each, with what every input adds to the answer.

        `base` and all `contribution_<input>` add up to `output`: the prediction, or the probability of the class that
        `of` names. `error` is the largest standard error among them. They are Shapley values of the graph.

        Args:
            background: rows that stand for *as usual*; None: held-out rows that travel with the release.
            time_limit: seconds, or `30s`; rows that it leaves no time for are not in the result.

        Raises:
            TableError: as `predict`.
        """
        end = time.monotonic() + seconds_of("time_limit", time_limit)
        asked = self._rows(table_of(rows), background)
        count = len(asked.asked)
        found = explain(
            self._session, asked.columns, asked.asked, asked.usual, lambda: time.monotonic() > end,
            most=count, walks=WALKS, alarm=alarm_place(self.manifest.lineage.recipe, self.manifest.classes),
        )  # fmt: skip
        answers = run_graph(self._session, to_feed(asked.columns, found.rows))[0].reshape(-1).tolist()
        return as_table(self.manifest, found, answers)

    def alternatives(
        self,
        row: Tabular,
        change: str | Iterable[str],
        *,
        to: Any = None,
        below: float | None = None,
        above: float | None = None,
        time_limit: float | str = "30s",
    ) -> pd.DataFrame:
        """Return what would have to change for a row to come out otherwise, the fewest and smallest changes first.

        Only within the ranges and values seen in training. It is the model's answer, no promise of the process: try it
        on the line first. Nothing is returned where the row comes out so as it is, or no change suffices.

        Args:
            row: a table of one row.
            change: inputs that may change.
            to: the class that is wanted; None: the likeliest other one.
            below, above: of a regression, the number that is wanted at most or at least.

        Returns:
            A line for each change: alternative (those of one number belong together), feature, before, after, answer,
            reached (the prediction, or the probability of the class that is wanted), unusual (unlike any row known).

        Raises:
            RequestError, TableError: there are several rows, no such inputs, or it does not say what is wanted.
        """
        end = time.monotonic() + seconds_of("time_limit", time_limit)
        rows = self._rows(table_of(row), None)
        if len(rows.asked) != 1:
            raise RequestError(f"alternatives are of one row, and the table has {len(rows.asked)}: give one")
        goal = goal_of(to, below, above, likeliest_other(self._session, self.manifest, rows.columns, 0))
        values = {column.name: column.values[0] for column in rows.columns}
        found = counterfactuals(
            self._session, self.manifest, values, names_of(change), goal, rows.columns, lambda: time.monotonic() > end
        )
        return changes_table(found)

    def save(self, folder: Path | str, *, force: bool = False) -> Path:
        """Write the candidate to a folder, whole or not at all, and return where it is.

        Args:
            force: an earlier candidate there is replaced.

        Raises:
            OutputRefusedError: the folder holds something else, or cannot be written.
        """
        out, files = Path(folder), _contents(self.folder)
        report = files.pop("report.json")
        del files["release.json"]
        write_candidate(out, self.manifest, files, report, force=force)
        return out

    def publish(self, registry: str | None = None, *, token: str | None = None) -> str:
        """Upload it to a registry, which checks its proof and signs it; return `model@version`.

        Args:
            registry: its URL; None: GENBA_REGISTRY.
            token: the API token; None: GENBA_TOKEN.

        Raises:
            GenbaError: the registry cannot be reached, or refuses it; the text says why.
        """
        return known().publish(self.folder, registry, token=token)

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.report.metrics.items())
        return f"<{self.manifest.model}: {self.manifest.task} of {self.manifest.target!r}; held-out {figures}>"

    def __str__(self) -> str:
        return describe(self.report, self.manifest)

    def _repr_html_(self) -> str:
        return summary_page(self.manifest, self.report).html

    def __getstate__(self) -> dict[str, bytes]:
        return _contents(self.folder)

    def __setstate__(self, files: dict[str, bytes]) -> None:
        keeper = Path(tempfile.mkdtemp(prefix="genba-model-"))
        for name, data in files.items():
            (keeper / name).write_bytes(data)
        TrainedModel.__init__(self, keeper, keeper)

    @cached_property
    def _graph(self) -> bytes:
        return (self.folder / "model.onnx").read_bytes()

    @cached_property
    def _session(self) -> Any:
        return open_graph(self._graph)

    def _run(self, table: pd.DataFrame) -> list[Array]:
        columns = input_columns(self.manifest, table, "the table")
        places = range(0, max(1, len(table)), BATCH_ROWS)
        parts = [
            run_graph(self._session, to_feed(columns, np.arange(at, min(at + BATCH_ROWS, len(table))))) for at in places
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _rows(self, table: pd.DataFrame, background: Tabular | None) -> Rows:
        asked = input_columns(self.manifest, table, "the table")
        if background is not None:
            return beside(asked, input_columns(self.manifest, table_of(background), "the background"))
        return beside(asked, usual_columns(self.folder, self.manifest))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
