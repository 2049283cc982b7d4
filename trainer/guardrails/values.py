"""Values: text among numbers, or instead of them from some row on; infinite and missing ones; endless categories."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, found, quoted

#: Missing in more than this share: alerted.
MANY_MISSING = 0.3
#: Categories that the model tells apart in one column; the rest count as unseen.
MAX_CATEGORIES = 64
#: What the values of a column of each kind are called, and what becomes of others among them.
_OWN = {
    "number": ("numbers", "made missing"),
    "category": ("texts", "made categories"),
    "time": ("points in time", "missing values, where hours or days of it are used"),
}


def mixed_rail(features: Sequence[Column]) -> Guardrail:
    seen, names = [], []
    for column in features:
        if column.mixed:
            own, made = _OWN[column.kind]
            examples = ", ".join(repr(example) for example in column.examples)
            turn = f"; {column.turn}" if column.turn else ""
            seen.append(
                f"{column.name!r} has {column.mixed} {column.mixed_with} among its {own} ({examples}): {made}{turn}"
            )
        if column.commas:
            seen.append(f"{column.name!r} has {column.commas} numbers with a decimal comma: read as numbers")
        if column.infinite:
            seen.append(f"{column.name!r} has {column.infinite} infinite numbers: made missing")
        if column.mixed or column.infinite or column.commas:
            names.append(column.name)
    override = f"correct the data, or --drop {quoted(names[0])}" if names else ""
    return found("mixed types", "alerted", seen, "as said", override, names)


def missing_rail(features: Sequence[Column]) -> Guardrail:
    shares = {column.name: float(column.missing.mean()) for column in features}
    shares = {name: share for name, share in shares.items() if share}
    if not shares:
        return Guardrail("missing values", "passed")
    many = [name for name, share in shares.items() if share > MANY_MISSING]
    seen = [f"{name!r} lacks {share:.1%} of its values" for name, share in shares.items()]
    done = "the model fills a missing number with the median and takes a missing text as a category of its own"
    override = f"--drop {quoted((many or list(shares))[0])}"
    return found("missing values", "alerted" if many else "done", seen, done, override, list(shares))


def category_rail(features: Sequence[Column]) -> Guardrail:
    seen, names = [], []
    for column in features:
        unique = len(pd.unique(column.values)) if column.kind != "number" else 0
        if unique > MAX_CATEGORIES:
            seen.append(f"{column.name!r} has {unique} different texts")
            names.append(column.name)
    if not seen:
        return Guardrail("many categories", "passed")
    done = f"the model tells the {MAX_CATEGORIES} most frequent apart and takes all others as unseen"
    return found("many categories", "alerted", seen, done, f"--drop {quoted(names[0])}", names)


def unanswered_rail(output: np.ndarray[Any, Any]) -> Guardrail:
    """Say how many rows of a sample a foreign model answers with NaN.

    Args:
        output: probabilities (rows, classes) or predictions (rows,).
    """
    count = int((~np.isfinite(output.reshape(len(output), -1)).all(axis=1)).sum())
    seen = [f"the model answers {count} of {len(output)} rows or windows with NaN"] if count else []
    done = "left them out of the figures and of the golden vectors"
    return found("answers", "alerted", seen, done, "put an imputer into the model, if values are missing there")
