"""Counterfactuals in Python: the answer that is wanted, and the changes that give it as a data frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from protocols.manifest import Manifest
from trainer.columns import Column
from trainer.errors import RequestError
from trainer.explain.counterfactuals import Found
from trainer.explain.levers import Goal
from trainer.graphs import run_graph, to_feed


def goal_of(to: Any, below: float | None, above: float | None, otherwise: str | None) -> Goal:
    """Return the answer that is wanted.

    Args:
        to, below, above: a class, or a number; at most one of them.
        otherwise: the class that is wanted where nothing is said; None of a regression.

    Raises:
        RequestError: several are given, or none where a number is predicted.
    """
    if sum(one is not None for one in (to, below, above)) > 1:
        raise RequestError("to, below and above say what is wanted: give one of them")
    if below is not None or above is not None:
        return Goal("at most", float(below)) if below is not None else Goal("at least", float(above or 0.0))
    wanted = otherwise if to is None else str(to)
    if wanted is None:
        raise RequestError("a number is predicted: say which is wanted, below=X or above=X")
    return Goal("class", wanted)


def likeliest_other(session: Any, manifest: Manifest, columns: Sequence[Column], position: int) -> str | None:
    """Return the class that a row would be, were it not what the model answers; None of a regression."""
    if not manifest.classes:
        return None
    answers, shares, *_ = run_graph(session, to_feed(columns, np.array([position])))
    others = [(float(share), name) for share, name in zip(shares[0], manifest.classes, strict=True)]
    return max(one for one in others if one[1] != str(answers.reshape(-1)[0]))[1]


def as_table(found: Found) -> pd.DataFrame:
    """Return a line for each change, `alternative` counting from 1: those of one number belong together.

    `answer` is what the model answers then, `reached` the prediction or the probability of the class that was wanted;
    `unusual` alternatives lie outside of all rows that are known, where a model guesses.
    """
    rows = [
        (number, change.feature, change.before, change.after, one.answer, one.reached, one.unusual)
        for number, one in enumerate(found.alternatives, 1)
        for change in one.changes
    ]
    columns = ["alternative", "feature", "before", "after", "answer", "reached", "unusual"]
    return pd.DataFrame(rows, columns=columns)
