"""A graph that is asked about mixtures of rows: many at once, but no longer at a time than the clock is patient."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainer.columns import Column
from trainer.graphs import Feed, followed_output, run_graph

Array = np.ndarray[Any, Any]

#: Seconds that a call should take beyond what it costs in any case, values (rows times columns) that it is given at
#: most, and rows of the first one.
CALL_S, CALL_VALUES, FIRST_ROWS = 0.05, 2_000_000, 256
#: Columns from which those that move nothing are looked for, rows that say so, and blocks at first.
WIDE, WITNESSES, BLOCKS = 100, 8, 64


class PacedGraph:
    """Runs a graph and learns how many rows it answers in the time of a call."""

    def __init__(self, session: Any, features: Sequence[Column]) -> None:
        self._session, self.features = session, features
        self._most = max(1, CALL_VALUES // len(features))
        self._least_s = float("inf")
        self.rows_at_once = min(FIRST_ROWS, self._most)

    def run(self, feed: Feed) -> Array:
        """Return the followed output, shape (rows, outputs)."""
        if self._least_s == float("inf"):
            self._timed({name: values[:1] for name, values in feed.items()})
        output, took_s = self._timed(feed)
        a_row_s = max(took_s - self._least_s, 1e-6) / len(output)
        # A graph of thousands of inputs takes long however few the rows: then more of them cost hardly more.
        paid = int(max(CALL_S, self._least_s) / a_row_s)
        self.rows_at_once = max(1, min(paid, 2 * self.rows_at_once, self._most))
        return output

    def _timed(self, feed: Feed) -> tuple[Array, float]:
        began = time.perf_counter()
        output = followed_output(run_graph(self._session, feed)).astype(np.float64)
        took_s = time.perf_counter() - began
        self._least_s = min(self._least_s, took_s)
        return np.asarray(output.reshape(len(output), -1)), took_s

    def mixed(self, own: Array, usual: Array, active: Array, taken: Array) -> Array:
        """Return the output of rows of which some columns come from other rows.

        Args:
            own, usual: positions of both, shape (rows,).
            active: columns that may come from `usual`; the others are always their own.
            taken: which active columns are their own, shape (rows, active).
        """
        source = np.where(taken, own[:, None], usual[:, None])
        places = {int(column): place for place, column in enumerate(active)}
        feed = {}
        for index, column in enumerate(self.features):
            rows = source[:, places[index]] if index in places else own
            feed[column.name] = column.values[rows].reshape(-1, 1)
        return self.run(feed)


def moving_columns(asked: PacedGraph, rows: Array, background: Array, over: Callable[[], bool]) -> Array:
    """Return the columns that move the output of some row at all; every one of a table that is not wide.

    Blocks of columns are exchanged, then the halves of those that moved something: trees look at few of thousands.
    Where most blocks move something, or the time ends, every column counts.
    """
    every = np.arange(len(asked.features))
    if len(every) < WIDE:
        return every
    own, usual = np.resize(rows, WITNESSES), np.resize(background, WITNESSES)
    blocks = list(np.array_split(every, BLOCKS))
    alike = asked.mixed(own, usual, every, np.ones((WITNESSES, len(every)), dtype=bool))
    most = len(blocks) // 2
    found: list[int] = []
    while blocks:
        moved = _moving(asked, (own, usual), blocks, alike, over)
        if moved is None or len(moved) > most:
            return every
        most = len(every)
        found += [int(block[0]) for block in moved if len(block) == 1]
        blocks = [half for block in moved if len(block) > 1 for half in np.array_split(block, 2)]
    return np.array(sorted(found), dtype=np.intp) if found else every[:1]


def _moving(
    asked: PacedGraph, pairs: tuple[Array, Array], blocks: Sequence[Array], alike: Array, over: Callable[[], bool]
) -> list[Array] | None:
    """Return the blocks that move some output when they are exchanged; None: time out."""
    moved, first = [], 0
    every = np.arange(len(asked.features))
    while first < len(blocks):
        if over():
            return None
        part = blocks[first : first + max(1, asked.rows_at_once // WITNESSES)]
        first += len(part)
        taken = np.ones((len(part), WITNESSES, len(every)), dtype=bool)
        for place, block in enumerate(part):
            taken[place][:, block] = False
        own, usual = (np.tile(rows, len(part)) for rows in pairs)
        output = asked.mixed(own, usual, every, taken.reshape(-1, len(every))).reshape(len(part), *alike.shape)
        moved += [block for block, answers in zip(part, output, strict=True) if (answers != alike).any()]
    return moved
