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
    _predict_serially(model)
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
    last = model[-1] if isinstance(model, Pipeline) else model
    if hasattr(last, "n_jobs"):
        last.n_jobs = 1
