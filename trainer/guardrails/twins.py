"""Twins: columns that say the same, so that a ranking shares their credit at random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, evenly, found, quoted

#: A correlation from which two numbers say the same.
SAME = 0.999
#: Rows, and columns at a time: 5,000 columns are compared in seconds, in little memory.
ROWS, BLOCK = 2_000, 500
#: Pairs that are told.
MAX_PAIRS = 100


def twin_rail(features: Sequence[Column]) -> Guardrail:
    pairs = [
        *_numbers([c for c in features if c.kind == "number"]),
        *_texts([c for c in features if c.kind != "number"]),
    ]
    if not pairs:
        return Guardrail("near-duplicate columns", "passed")
    seen = [f"{left!r} and {right!r} say the same ({why})" for left, right, why in pairs[:MAX_PAIRS]]
    names = list(dict.fromkeys(name for left, right, _ in pairs[:MAX_PAIRS] for name in (left, right)))
    done = "kept both; their importance is shared between them, so read them as one"
    return found("near-duplicate columns", "alerted", seen, done, f"--drop {quoted(pairs[0][1])}", names)


def _numbers(columns: Sequence[Column]) -> list[tuple[str, str, str]]:
    pairs: list[tuple[str, str, str]] = []
    if len(columns) < 2:
        return pairs
    matrix = _standardised(columns)
    for start in range(0, len(columns), BLOCK):
        found_here = np.abs(matrix[start : start + BLOCK] @ matrix.T)
        for row, other in np.argwhere(found_here > SAME):
            if other > start + row:
                words = f"correlation {min(float(found_here[row, other]), 1.0):.5f}"
                pairs.append((columns[start + row].name, columns[other].name, words))
        if len(pairs) > MAX_PAIRS:
            break
    return pairs


def _standardised(columns: Sequence[Column]) -> np.ndarray[Any, Any]:
    """Each column as a vector of length one, missing as its mean; shape (columns, rows), float32."""
    rows = evenly(len(columns[0].values), ROWS)
    matrix = np.stack([column.values[rows] for column in columns]).astype(np.float64)
    missing = np.isnan(matrix)
    counts = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    matrix -= np.where(missing, 0.0, matrix).sum(axis=1, keepdims=True) / counts
    matrix[missing] = 0.0
    scale = np.abs(matrix).max(axis=1, keepdims=True)
    matrix /= np.where(scale > 0, scale, 1.0)
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    return np.asarray(matrix / np.where(length > 0, length, 1.0), dtype=np.float32)


def _texts(columns: Sequence[Column]) -> list[tuple[str, str, str]]:
    """Categories that stand for each other one to one number their values alike, in the order of appearance."""
    known: dict[bytes, str] = {}
    pairs = []
    for column in columns:
        codes = pd.factorize(column.values)[0].astype(np.int32).tobytes()
        if codes in known:
            pairs.append((known[codes], column.name, "each value of one goes with one value of the other"))
        known.setdefault(codes, column.name)
    return pairs
