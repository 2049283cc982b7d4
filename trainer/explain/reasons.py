"""Explanations in words and as a table: why rows are answered so, and what would have to change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from protocols.card import Alternative, Change
from protocols.manifest import Manifest
from trainer.columns import Column
from trainer.explain.counterfactuals import Found
from trainer.explain.explained_rows import Rows
from trainer.explain.explanation import Explained
from trainer.explain.levers import Goal

#: Reasons that are told of one row.
REASONS = 5


def row_words(manifest: Manifest, rows: Rows, explained: Explained, place: int, answer: str) -> list[str]:
    """Return the lines about one row: its answer, the largest contributions, and how sure they are.

    Args:
        place: of the row among those explained.
        answer: what the model predicts for it.
    """
    number = int(explained.rows[place]) + 1
    of = f"probability of {manifest.classes[explained.explained[place]]!r}" if manifest.classes else "prediction"
    usual, own = explained.base[place], explained.outputs[place]
    head = f"row {number}: {answer}" + (f" ({of} {own:.3g}, usually {usual:.3g})" if manifest.classes else "")
    head += "" if manifest.classes else f" (usually {usual:.4g})"
    contributions = explained.contributions[place]
    order = np.argsort(-np.abs(contributions), kind="stable")
    lines = [head]
    for index in order[:REASONS]:
        if contributions[index]:
            lines.append(f"  {contributions[index]:+9.3g}  {_reason(rows, int(index), int(explained.rows[place]))}")
    rest = order[REASONS:]
    if len(rest) and contributions[rest].any():
        lines.append(
            f"  {contributions[rest].sum():+9.3g}  {len(rest)} other input{'s together' if len(rest) > 1 else ''}"
        )
    errors = explained.errors[place]
    if np.isfinite(errors).all() and errors.max() > 0:
        lines.append(f"  each of these is sampled, to about ±{1.96 * errors.max():.2g}")
    return lines


def _reason(rows: Rows, index: int, position: int) -> str:
    column = rows.columns[index]
    return f"{column.name} is {_shown(column.values[position])}{_usually(column, rows)}"


def _usually(column: Column, rows: Rows) -> str:
    values = column.values[rows.usual]
    if column.kind == "number":
        there = values[~np.isnan(values)]
        return f" (usually {np.median(there):.4g})" if len(there) else ""
    found, counts = np.unique(values.astype(str), return_counts=True)
    return f" (usually {_shown(str(found[counts.argmax()]))})" if len(found) else ""


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, str) and not value):
        return "missing"
    if isinstance(value, str):
        return repr(value)
    return "missing" if np.isnan(value) else f"{float(value):.5g}"


def otherwise_words(found: Found, goal: Goal, changeable: Sequence[str]) -> list[str]:
    """Return the lines about what would have to change."""
    of = "probability" if goal.kind == "class" else "prediction"
    if found.already:
        return [f"it comes out as {goal} as it is"]
    late = ["the time ended before every set of columns was tried; --time gives more"] * found.cut_short
    if not found.alternatives:
        return [
            f"no change of {', '.join(changeable)} within the ranges seen makes it {goal}; the nearest has a {of} of "
            f"{found.closest:.4g}",
            *late,
        ]
    lines = [f"to come out as {goal}:"]
    for number, one in enumerate(found.alternatives, 1):
        lines.append(f"  {number}. {change_words(one)}: {_reached(one, of)}")
    return [*lines, "what the model would answer, not what the process would do: try it on the line first", *late]


def change_words(one: Alternative) -> str:
    return " and ".join(_change(change) for change in one.changes)


def _change(change: Change) -> str:
    return f"{change.feature} from {_shown(change.before)} to {_shown(change.after)}"


def _reached(one: Alternative, of: str) -> str:
    told = f"{one.answer!r} ({of} {one.reached:.3g})" if of == "probability" else f"{of} {one.reached:.5g}"
    return told + ("; unlike any row known, so a guess" if one.unusual else "")


def as_table(manifest: Manifest, explained: Explained, answers: Sequence[Any]) -> pd.DataFrame:
    """Return a line for each row: its place in the file, from 1, answer, base, output and every contribution.

    `error` is the largest standard error of its contributions.
    """
    columns: dict[str, Any] = {"row": explained.rows + 1, "prediction": list(answers)}
    if manifest.classes:
        columns["of"] = [manifest.classes[place] for place in explained.explained]
    columns |= {"output": explained.outputs, "base": explained.base}
    columns |= {
        f"contribution_{spec.name}": explained.contributions[:, index] for index, spec in enumerate(manifest.inputs)
    }
    return pd.DataFrame({**columns, "error": explained.errors.max(axis=1)})
