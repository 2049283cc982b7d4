"""Trials as a search finds them, made by hand."""

import numpy as np

from trainer.families import Parameters
from trainer.graph.encoded import Array
from trainer.metrics import METRIC, metric_named
from trainer.search.trial import Tried


def tried(
    family: str,
    seen: Array,
    truth: Array,
    parameters: Parameters | None = None,
    *,
    metric: str = "",
    size_bytes: int = 1000,
    latency_ms: float = 0.01,
    fit_s: float = 0.01,
) -> Tried:
    """Return what a trial with these predictions would have found.

    Args:
        seen: predictions (rows,), or probabilities (rows, classes).
        metric: its loss; RMSE or log loss where empty.
    """
    outputs = seen.reshape(len(seen), -1).astype(np.float32)
    loss = metric_named(metric or METRIC["classification" if outputs.shape[1] > 1 else "regression"]).loss(
        truth, outputs
    )
    return Tried(
        family,
        parameters or {"strength": 1.0},
        {},
        (loss,),
        loss,
        outputs,
        outputs[:5],
        fit_s,
        size_bytes,
        latency_ms,
    )
