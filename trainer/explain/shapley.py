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
from trainer.explain.paced_graph import PacedGraph, moving_columns
from trainer.graphs import to_feed

Array = np.ndarray[Any, Any]

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

    Of a wide table those columns alone are walked that move the output of some row at all.

    Args:
        session: the graph, opened: one input for each of the features.
        rows: to explain, by position.
        background: rows that stand for *as usual*, by position.
        over: asked after each call of the graph; the first is made in any case.
        walks: pairs for each row; with as many as there are background rows, each has served once.
    """
    random = np.random.default_rng(SEED)
    asked = PacedGraph(session, features)
    usual, own = asked.run(to_feed(features, background)), asked.run(to_feed(features, rows))
    active = moving_columns(asked, rows, background, over)
    tally = _Tally((len(rows), len(features), usual.shape[1]), len(background))
    starts, order = random.permutation(len(background)), random.permutation(len(rows))
    for walk in range(walks):
        first = 0
        while first < len(rows):
            places = order[first : first + max(1, asked.rows_at_once // max(1, 2 * len(active)))]
            first += len(places)
            froms = starts[(places + walk) % len(background)]
            orders = np.argsort(random.random((len(places), len(active))), axis=1)
            steps = _walk(asked, (rows[places], background[froms]), active, orders, own[places], over)
            if steps is None:
                return tally.result(usual, own)
            values = np.zeros((len(places), len(features), usual.shape[1]))
            values[:, active] = steps
            tally.add(places, values)
            if over():
                return tally.result(usual, own)
    return tally.result(usual, own)


def _walk(
    asked: PacedGraph,
    pairs: tuple[Array, Array],
    active: Array,
    orders: Array,
    ends: Array,
    over: Callable[[], bool],
) -> Array | None:
    """What each active column added on the way there and on the way back; None: time out.

    Args:
        pairs: rows to explain and the background rows that they start from, by position, each of shape (rows,).
        active: the columns that are walked; the others are the row's own all the way.
        orders: of the active columns on each row's first walk, shape (rows, active).
        ends: outputs of the rows, shape (rows, outputs).

    Returns:
        Shape (rows, active, outputs).
    """
    rows, width = orders.shape
    ranks = np.argsort(orders, axis=1)
    # There: 0 to width - 1 columns are the row's own. Back: 1 to width - 1; its start is the same.
    each = 2 * width - 1
    met = np.empty((rows * each, ends.shape[1]))
    first = 0
    while first < len(met):
        if first and over():
            return None
        flat = np.arange(first, min(first + asked.rows_at_once, len(met)))
        first += len(flat)
        row, place = np.divmod(flat, each)
        back = place >= width
        size = np.where(back, place - width + 1, place)
        taken = np.where(back[:, None], ranks[row] >= (width - size)[:, None], ranks[row] < size[:, None])
        met[flat] = asked.mixed(pairs[0][row], pairs[1][row], active, taken)
    path = met.reshape(rows, each, -1)
    end = ends[:, None]
    there = np.diff(np.concatenate([path[:, :width], end], axis=1), axis=1)
    back_again = np.diff(np.concatenate([path[:, :1], path[:, width:], end], axis=1), axis=1)
    values = np.zeros((rows, width, ends.shape[1]))
    picked = np.arange(rows)[:, None]
    values[picked, orders] += there / 2
    values[picked, orders[:, ::-1]] += back_again / 2
    return values


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
