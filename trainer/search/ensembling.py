"""Greedy ensembles: models are added, some more than once, as long as their mean gets better on unseen rows.

On few rows the best mean is a matter of luck. So it is chosen again and again on rows drawn with replacement, from some
of the models; the mean of what was chosen counts, and the rows that a draw left out say how lucky such a choice is.

Source: Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble Selection from Libraries of Models" (2004), section 2.3;
Efron, "Estimating the Error Rate of a Prediction Rule" (1983), for the rows left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.graph.encoded import Array
from trainer.metrics import Metric, cautious_log_losses

#: Models are added at most so often, and a mean must be better by this share of the loss to be worth a model more.
ADDITIONS, WORTH = 25, 1e-4
#: Draws of rows, and the cells looked at in all of them, which bound their time.
DRAWS, CELLS = 16, 24_000_000
#: Share of the models that one choice is made from.
MODELS_SHARE = 0.7
#: Up to so many rows a log loss looks at every class, so that certainty is paid for.
EVERY_CLASS_ROWS = 2000
#: A weight below this share of the largest hardly counts, and of no more models some are left out one by one.
LEAST_WEIGHT, MOST_REDUCED = 0.02, 16


@dataclass(frozen=True, slots=True)
class Mean:
    """A weighted mean of models.

    Attributes:
        weights: of each model, summing to one.
        luck: how much less than its true loss such a choice seems to lose on the rows that it was chosen on.
    """

    weights: Array
    luck: float


def best_means(
    outputs: Sequence[Array], truth: Array, metric: Metric, sizes: Sequence[int], *, quick: bool = False
) -> list[Mean]:
    """Return the best mean of at most so many models, for each size.

    The mean that was drawn most is taken apart: the model goes first without which the others lose least.

    Args:
        outputs: of each model on the same rows, the simpler first: a later one must be better to be preferred.
        truth: of these rows.
        sizes: from the least to the largest.
        quick: choose once, on all rows.
    """
    table = _Table.of(outputs, truth, metric)
    weights, luck = _drawn(table, sizes[-1], quick=quick)
    every = np.arange(len(truth))
    means = []
    for size in reversed(sizes):
        weights = _reduced(table, weights, size, every)
        means.append(Mean(weights, luck))
    return means[::-1]


def _drawn(table: "_Table", most: int, *, quick: bool) -> tuple[Array, float]:
    """Return weights chosen again and again, and the luck of such a choice."""
    models, rows = len(table.told), table.told.shape[1]
    every = np.arange(rows)
    draws = int(np.clip(CELLS // (ADDITIONS * table.told.size), 1, DRAWS))
    if quick or draws < 3 or models < 3:
        return _greedy(table, np.arange(models), every, most), 0.0
    random = np.random.default_rng(0)
    total, seeming = np.zeros(models), []
    for _ in range(draws):
        drawn = np.sort(random.integers(0, rows, rows))
        some = np.sort(random.permutation(models)[: max(2, round(MODELS_SHARE * models))])
        weights = _greedy(table, some, drawn, most)
        total += weights
        others = np.setdiff1d(every, drawn)
        if len(others):
            seeming.append(table.loss(weights, others) - table.loss(weights, every))
    return total / total.sum(), max(0.0, float(np.mean(seeming))) if seeming else 0.0


def _reduced(table: "_Table", weights: Array, most: int, rows: Array) -> Array:
    """Leave models out until there are at most so many, and none that hardly counts."""
    order = np.argsort(-weights, kind="stable")[:MOST_REDUCED]
    kept = order[weights[order] >= LEAST_WEIGHT * weights.max()]
    while len(kept) > most:
        means = np.stack([_shares(weights, np.delete(kept, place)) for place in range(len(kept))])
        losses = table.losses(np.tensordot(means, table.told[:, rows], axes=1), rows)
        kept = np.delete(kept, int(losses.argmin()))
    return _shares(weights, kept)


def _shares(weights: Array, kept: Array) -> Array:
    """The weights of some models, made to add up to one."""
    shares = np.zeros_like(weights)
    shares[kept] = weights[kept] / weights[kept].sum()
    return shares


def mean_output(outputs: Sequence[Array], weights: Array) -> Array:
    """Return the weighted mean, float64."""
    return np.asarray(sum(weight * output.astype(np.float64) for weight, output in zip(weights, outputs, strict=True)))


@dataclass(frozen=True, slots=True)
class _Table:
    """What the metric needs of each model: `told` (models, rows, ...), and the losses of several means of it."""

    told: Array
    losses: Callable[[Array, Array], Array]

    @classmethod
    def of(cls, outputs: Sequence[Array], truth: Array, metric: Metric) -> "_Table":
        if metric.name == "rmse":
            wanted = truth.astype(np.float64)
            told = np.stack([output[:, 0] for output in outputs]).astype(np.float64)
            return cls(told, lambda means, drawn: np.sqrt(((means - wanted[drawn]) ** 2).mean(axis=1)))
        if metric.name == "log_loss" and len(truth) > EVERY_CLASS_ROWS:
            rows = np.arange(len(truth))
            own = np.stack([output[rows, truth.astype(np.int64)] for output in outputs])
            return cls(own.astype(np.float32), lambda means, drawn: -np.log(np.clip(means, 1e-7, 1.0)).mean(axis=1))

        if metric.name == "log_loss":
            return cls(np.stack(outputs), lambda means, drawn: cautious_log_losses(truth[drawn], means))

        def one_by_one(means: Array, drawn: Array) -> Array:
            return np.array([metric.loss(truth[drawn], mean) for mean in means])

        return cls(np.stack(outputs), one_by_one)

    def loss(self, weights: Array, rows: Array) -> float:
        mean: Any = np.tensordot(weights, self.told[:, rows], axes=1)
        return float(self.losses(mean[None], rows)[0])


def _greedy(table: _Table, some: Array, rows: Array, most: int) -> Array:
    """Return the weights of the best mean of some models on some rows, shape (models,)."""
    told = table.told[some][:, rows]
    counts = np.zeros(len(some))
    total = np.zeros_like(told[0], dtype=np.float64)
    best, kept = np.inf, counts.copy()
    for added in range(ADDITIONS):
        allowed = np.arange(len(some)) if np.count_nonzero(counts) < most else np.flatnonzero(counts)
        found = table.losses((told[allowed] + total) / (added + 1), rows)
        chosen = int(allowed[found.argmin()])
        counts[chosen] += 1
        total += told[chosen]
        if not np.isfinite(best) or found.min() < best - WORTH * abs(best):
            best, kept = float(found.min()), counts.copy()
        elif added > 2 * np.count_nonzero(kept) + 5:
            break
    weights = np.zeros(len(table.told))
    weights[some] = kept / kept.sum()
    return weights
