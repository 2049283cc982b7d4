"""Fitting and predicting so that the same data give the same bits, and nothing is printed on the way."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from protocols.manifest import Task
from trainer.families import Parameters, build_model
from trainer.featurizer import build_featurizer


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread: with more, the order of a sum, and so its last bits, vary."""
    with threadpool_limits(limits=1):
        yield


def fit_quietly(model: Any, inputs: Any, target: np.ndarray[Any, Any]) -> Any:
    """Fit and return the model. That an iteration limit was reached shows in the loss, so it needs no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, target)
    last = model[-1] if isinstance(model, Pipeline) else model
    _predict_serially(last)
    round_thresholds(last)
    return model


def fit_pipeline(
    frame: pd.DataFrame, target: np.ndarray[Any, Any], task: Task, parameters: Parameters, seed: int
) -> Pipeline:
    """Return featurizer and model, fitted on raw columns as `to_frame` makes them."""
    featurizer = build_featurizer(frame, scaled=parameters["family"] == "linear")
    return fit_quietly(
        Pipeline([("featurizer", featurizer), ("model", build_model(task, parameters, seed))]), frame, target
    )


def predict(model: Any, inputs: Any) -> np.ndarray[Any, Any]:
    """Return probabilities, shape (rows, classes), of a classifier; predictions, shape (rows,), of a regression."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(inputs))
    return np.asarray(model.predict(inputs)).reshape(len(inputs))


def _predict_serially(model: Any) -> None:
    """A forest adds its trees' votes in the order in which threads finish: one thread has one order."""
    if hasattr(model, "n_jobs"):
        model.n_jobs = 1


def round_thresholds(model: Any) -> None:
    """Round a boosted model's thresholds down to float32, which changes no decision on float32 values.

    The converter rounds them to the nearest instead, so that values between the two, such as an imputed median,
    would go the other way in the graph.
    """
    for stage in getattr(model, "_predictors", ()):
        for tree in stage:
            exact = tree.nodes["num_threshold"]
            with np.errstate(over="ignore"):
                rounded = exact.astype(np.float32)
            above = rounded > exact
            rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
            tree.nodes["num_threshold"] = rounded
