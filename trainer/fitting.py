"""Fitting and predicting so that the same data give the same bits, and nothing is printed on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from trainer.pieces.trees import round_down


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread: with more, the order of a sum, and so its last bits, vary."""
    with threadpool_limits(limits=1):
        yield


def predict(model: Any, inputs: Any) -> np.ndarray[Any, Any]:
    """Return probabilities, shape (rows, classes), of a classifier; predictions, shape (rows,), of a regression."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(inputs))
    return np.asarray(model.predict(inputs)).reshape(len(inputs))


def round_thresholds(model: Any) -> None:
    """Round a boosted model's thresholds down to float32, which changes no decision on float32 values.

    The converter rounds them to the nearest instead, so that values between the two, such as an imputed median,
    would go the other way in the graph.
    """
    for stage in getattr(model, "_predictors", ()):
        for tree in stage:
            tree.nodes["num_threshold"] = round_down(tree.nodes["num_threshold"])
