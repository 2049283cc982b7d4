"""Greedy ensembles: models are added, some more than once, as long as their mean gets better on unseen rows.

Source: Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble Selection from Libraries of Models" (2004).
"""

from collections.abc import Sequence

import numpy as np

from trainer.encoded import Array
from trainer.metrics import Metric

#: Models are added at most so often, and a mean must be better by this share of the loss to be worth a model more.
ADDITIONS, WORTH = 30, 1e-4


def greedy_weights(outputs: Sequence[Array], truth: Array, metric: Metric, most: int) -> Array:
    """Return the weight of each model's output in the best mean, summing to one; shape (models,).

    Args:
        outputs: of each model on the same rows, the simpler first: a later one must be better to be preferred.
        truth: of these rows.
        most: different models in the mean, at most.
    """
    counts = np.zeros(len(outputs))
    total = np.zeros_like(outputs[0], dtype=np.float64)
    best, kept = np.inf, counts.copy()
    for added in range(ADDITIONS):
        losses = np.full(len(outputs), np.inf)
        full = np.count_nonzero(counts) >= most
        for index, output in enumerate(outputs):
            if not full or counts[index]:
                losses[index] = metric.loss(truth, (total + output) / (added + 1))
        chosen = int(losses.argmin())
        counts[chosen] += 1
        total += outputs[chosen]
        if losses[chosen] < best - WORTH * abs(best if np.isfinite(best) else 0.0):
            best, kept = float(losses[chosen]), counts.copy()
        elif added > 2 * np.count_nonzero(kept) + 5:
            break
    return np.asarray(kept / kept.sum())


def mean_output(outputs: Sequence[Array], weights: Array) -> Array:
    """Return the weighted mean, float64."""
    return np.asarray(sum(weight * output.astype(np.float64) for weight, output in zip(weights, outputs, strict=True)))
