"""Champion against challenger: how well a candidate or release does on rows, by the graph that devices run."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from protocols.manifest import Manifest
from trainer.assembly import class_indices
from trainer.candidate import read_candidate
from trainer.columns import Column, type_column, type_label
from trainer.errors import MissingColumnError, TooFewRowsError
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.metrics import classification_loss, classification_metrics, regression_loss, regression_metrics
from trainer.tables import check_shape
from trainer.targets import labels_as_text

Array = np.ndarray[Any, Any]


class Score(TypedDict):
    """How well a model did. `value` is the metric, lower is better; `unknown` rows have a class it never learned."""

    metric: str
    value: float
    rows: int
    unknown: int
    metrics: dict[str, float]


def evaluate(folder: Path, table: pd.DataFrame) -> Score:
    """Run a candidate's or release's graph on labelled rows and measure it.

    Rows without a label are left out. A row whose class the model never learned counts as one to which it gave no
    probability at all, so that a model cannot win by not knowing what happens on the line.

    Args:
        folder: holds release.json and the files that it lists.
        table: the model's inputs and target by name; other columns are ignored.

    Raises:
        CandidateError: the folder is incomplete or was edited.
        MissingColumnError: the table lacks an input or the target.
        TooFewRowsError: no row has a label.
    """
    return score(read_candidate(folder), (folder / "model.onnx").read_bytes(), table)


def score(manifest: Manifest, graph: bytes, table: pd.DataFrame) -> Score:
    """As `evaluate`, for a graph in memory."""
    table = check_shape(table, "the table")
    for name in (manifest.target, *(spec.name for spec in manifest.inputs)):
        if name not in table.columns:
            raise MissingColumnError(f"{manifest.release} needs", name, table.columns)
    truth, rows = true_values(manifest, table[manifest.target])
    if not len(rows):
        raise TooFewRowsError(0, 1, manifest.target)
    features = [typed_as(spec.name, spec.dtype, table[spec.name].iloc[rows]) for spec in manifest.inputs]
    return judge(manifest, truth, followed_output(run_graph(open_graph(graph), to_feed(features))))


def judge(manifest: Manifest, truth: Array, output: Array) -> Score:
    """Measure a graph's output (probabilities or predictions) on rows with these true values."""
    if manifest.task == "regression":
        return _score(manifest, regression_loss(truth, output), len(truth), 0, regression_metrics(truth, output))
    return _classification_score(manifest, truth, output)


def measured(manifest: Manifest, series: pd.Series, output: Array) -> dict[str, float]:
    """Return a foreign model's figures on the rows that have a true value and that it answers with a number.

    Args:
        output: of every row of `series`; NaN where the model has no answer, such as to a missing value.
    """
    truth, rows = true_values(manifest, series)
    answered = np.isfinite(output[rows].reshape(len(rows), -1)).all(axis=1)
    if answered.sum() < 2:
        return {}
    found = judge(manifest, truth[answered], output[rows[answered]])
    return {manifest.metric: found["value"], **found["metrics"]}


def true_values(manifest: Manifest, series: pd.Series) -> tuple[Array, Array]:
    """Return the labels (numbers, or text as the classes are spelt) and which rows have one."""
    if manifest.task == "regression":
        values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(np.isfinite(values))
        return values[rows], rows
    column = type_label(manifest.target, series)
    rows = np.flatnonzero(~column.missing)
    return np.array(labels_as_text(column.values[rows]), dtype=object), rows


def typed_as(name: str, dtype: str, series: pd.Series) -> Column:
    """The column as the graph takes it, whatever its values look like here."""
    if dtype == "string":
        missing = series.isna().to_numpy()
        texts = ["" if gone else str(value) for value, gone in zip(series, missing, strict=True)]
        return Column(name, "category", np.array(texts, dtype=object))
    column = type_column(name, series)
    if column.kind == "number":
        return replace(column, exact=None)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    values[np.isinf(values)] = np.nan
    return Column(name, "number", values)


def _classification_score(manifest: Manifest, truth: Array, output: Array) -> Score:
    known = np.isin(truth.astype(str), np.array(manifest.classes))
    unknown = int((~known).sum())
    # A further class, to which the model gives nothing: the loss clips it like any other wrong certainty.
    widened = np.hstack([output, np.zeros((len(output), 1), dtype=output.dtype)])
    indices = np.full(len(truth), len(manifest.classes))
    indices[known] = class_indices(truth[known], manifest.classes)
    if unknown:
        return _score(manifest, classification_loss(indices, widened), len(truth), unknown, {})
    figures = classification_metrics(indices, output)
    return _score(manifest, figures["log_loss"], len(truth), 0, figures)


def _score(manifest: Manifest, value: float, rows: int, unknown: int, metrics: dict[str, float]) -> Score:
    return Score(metric=manifest.metric, value=value, rows=rows, unknown=unknown, metrics=metrics)
