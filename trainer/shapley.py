"""Shapley values of a graph's raw columns, by sampling: any graph, as many rows and samples as the time allows.

A row is walked from a background row to itself, one column at a time, in a random order and then in the reverse of it;
what the output does at each step is that column's. Means over many walks are the interventional Shapley values: exactly
so where no more than two columns act together and every background row was walked from, and else within `error`.

Source: Štrumbelj, Kononenko, "Explaining prediction models and individual predictions with feature contributions";
Mitchell et al., "Sampling Permutations for Shapley Value Estimation" (antithetic walks); Lundberg, Lee (SHAP).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.columns import Column
from trainer.graphs import Feed, followed_output, run_graph, to_feed

Array = np.ndarray[Any, Any]

#: Values (rows times columns) that one call of the graph is given at most: between two calls the clock is looked at.
CALL_VALUES = 400_000
SEED = 0


@dataclass(frozen=True, slots=True)
class Shapley:
    """What each column adds to each output, for the rows that the time sufficed for.

    Attributes:
        rows: which of the rows that were asked for, by place among them.
        values: shape (rows, columns, outputs); with `base` they add up to `outputs`.
        errors: standard errors of the values, same shape; NaN where a row had a single walk.
        base: mean outputs of the background, shape (outputs,).
        outputs: of the rows, shape (rows, outputs).
        walks: pairs of walks that each row had, shape (rows,).
    """

    rows: Array
    values: Array
    errors: Array
    base: Array
    outputs: Array
    walks: Array


def shapley(
    session: Any,
    features: Sequence[Column],
    rows: Array,
    background: Array,
    over: Callable[[], bool],
    walks: int,
) -> Shapley:
    """Sample until each row has had so many pairs of walks, or the time is over.

    Args:
        session: the graph, opened: one input for each of the features.
        rows: to explain, by position.
        background: rows that stand for *as usual*, by position.
        over: asked after each call of the graph; the first is made in any case.
        walks: pairs for each row; with as many as there are background rows, each has served once.
    """
    random = np.random.default_rng(SEED)
    usual, own = _run(session, to_feed(features, background)), _run(session, to_feed(features, rows))
    tally = _Tally((len(rows), len(features), usual.shape[1]), len(background))
    starts, order = random.permutation(len(background)), random.permutation(len(rows))
    pair = max(1, 2 * (len(features) - 1))
    chunk = max(1, CALL_VALUES // (pair * len(features)))
    for walk in range(walks):
        for first in range(0, len(rows), chunk):
            places = order[first : first + chunk]
            froms = starts[(places + walk) % len(background)]
            orders = np.argsort(random.random((len(places), len(features))), axis=1)
            ends = np.stack([usual[froms], own[places]], axis=1)
            steps = _walk(session, features, (rows[places], background[froms]), orders, ends, over)
            if steps is None:
                return tally.result(usual, own)
            tally.add(places, steps)
            if over():
                return tally.result(usual, own)
    return tally.result(usual, own)


def _walk(
    session: Any,
    features: Sequence[Column],
    pairs: tuple[Array, Array],
    orders: Array,
    ends: Array,
    over: Callable[[], bool],
) -> Array | None:
    """What each column added on the way there and on the way back, shape (rows, columns, outputs); None: time out.

    Args:
        pairs: rows to explain and the background rows that they start from, by position, each of shape (rows,).
        orders: of the columns on each row's first walk, shape (rows, columns).
        ends: outputs at both ends, shape (rows, 2, outputs).
    """
    rows, width = orders.shape
    ranks = np.argsort(orders, axis=1)
    between = width - 1
    met = np.empty((rows * 2 * between, ends.shape[2]))
    step = max(1, CALL_VALUES // width)
    for first in range(0, len(met), step):
        if first and over():
            return None
        flat = np.arange(first, min(first + step, len(met)))
        row, place = np.divmod(flat, 2 * between)
        back, size = np.divmod(place, between)
        met[flat] = _run(session, _mixed(features, pairs, ranks, row, size + 1, back == 1))
    path = met.reshape(rows, 2, between, ends.shape[2])
    start, end = ends[:, None, :1], ends[:, None, 1:]
    both = np.concatenate([np.repeat(start, 2, axis=1), path, np.repeat(end, 2, axis=1)], axis=2)
    moved = np.diff(both, axis=2)
    values = np.zeros((rows, width, ends.shape[2]))
    picked = np.arange(rows)[:, None]
    values[picked, orders] += moved[:, 0] / 2
    values[picked, orders[:, ::-1]] += moved[:, 1] / 2
    return values


def _mixed(
    features: Sequence[Column], pairs: tuple[Array, Array], ranks: Array, row: Array, size: Array, back: Array
) -> Feed:
    """Rows half way: the first (or, on the way back, the last) columns of an order are the row's own."""
    own, usual = pairs[0][row], pairs[1][row]
    feed = {}
    for index, column in enumerate(features):
        rank = ranks[row, index]
        taken = np.where(back, rank >= ranks.shape[1] - size, rank < size)
        feed[column.name] = column.values[np.where(taken, own, usual)].reshape(-1, 1)
    return feed


def _run(session: Any, feed: Feed) -> Array:
    """Return the followed output, shape (rows, outputs)."""
    output = followed_output(run_graph(session, feed)).astype(np.float64)
    return np.asarray(output.reshape(len(output), -1))


class _Running:
    """Means and variances as values come, by Welford's method; each row has a count of its own."""

    def __init__(self, rows: int, columns: int, outputs: int) -> None:
        self.mean = np.zeros((rows, columns, outputs))
        self._squares = np.zeros_like(self.mean)
        self.count = np.zeros(rows, dtype=np.intp)

    def add(self, places: Array, values: Array) -> None:
        self.count[places] += 1
        away = values - self.mean[places]
        self.mean[places] += away / self.count[places][:, None, None]
        self._squares[places] += away * (values - self.mean[places])

    def variance(self, rows: Array) -> Array:
        """Of one value; 0 where there is a single one."""
        return np.asarray(self._squares[rows] / np.maximum(self.count[rows] - 1, 1)[:, None, None])


class _Tally:
    """Walks, and the means of those rounds in which a row was walked from every background row."""

    def __init__(self, shape: tuple[int, int, int], background: int) -> None:
        self._walks, self._rounds = _Running(*shape), _Running(*shape)
        self._sums, self._background = np.zeros(shape), background

    def add(self, places: Array, values: Array) -> None:
        self._walks.add(places, values)
        self._sums[places] += values
        if self._walks.count[places[0]] % self._background == 0:
            self._rounds.add(places, self._sums[places] / self._background)
            self._sums[places] = 0

    def result(self, usual: Array, own: Array) -> Shapley:
        """Return the means; what a row's own background rows differ from all of them goes where values vary most."""
        rows = np.flatnonzero(self._walks.count)
        walks, values, variances = self._walks.count[rows], self._walks.mean[rows], self._walks.variance(rows)
        base, outputs = usual.mean(axis=0), own[rows]
        left = outputs - base - values.sum(axis=1)
        weights = np.where(variances.sum(axis=1, keepdims=True) > 0, variances, np.abs(values) + 1e-300)
        values = values + weights / weights.sum(axis=1, keepdims=True) * left[:, None, :]
        return Shapley(rows, values, self._errors(rows, variances), base, outputs, walks)

    def _errors(self, rows: Array, variances: Array) -> Array:
        """Which background rows were drawn counts as chance only where not all of them were, several times."""
        walks, rounds = (each.count[rows][:, None, None] for each in (self._walks, self._rounds))
        by_walks = np.where(walks > 1, np.sqrt(variances / np.maximum(walks, 1)), np.nan)
        by_rounds = np.sqrt(self._rounds.variance(rows) / np.maximum(rounds, 1))
        return np.where(rounds > 1, by_rounds, by_walks)
