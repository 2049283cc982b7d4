"""The form of a guardrail, and the words that all of them use."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from trainer.columns import Column

State = Literal["passed", "done", "alerted"]

#: Rows that a rail looks at where it need not see all of them.
SAMPLE_ROWS = 20_000
#: Lines of one guardrail; a table may have thousands of columns with the same fault.
MAX_LINES = 100


class Guardrail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check of the data.

    Attributes:
        check: what was looked for.
        state: `passed` nothing found, `done` found and dealt with, `alerted` found and left for a person to judge.
        seen: what was found, one line for each column.
        done: what was done about it.
        override: how to have it otherwise.
        columns: which columns it concerns.
    """

    check: str
    state: State
    seen: tuple[str, ...] = ()
    done: str = ""
    override: str = ""
    columns: tuple[str, ...] = ()


#: A rail that may drop columns: it takes the columns and what must be kept, and names those to leave out.
Look = Callable[[Sequence[Column], frozenset[str]], tuple[Guardrail, list[str]]]


def found(
    check: str, state: State, seen: Sequence[str], done: str, override: str, columns: Sequence[str] = ()
) -> Guardrail:
    """Return a guardrail whose lines a person can read through; `passed` where nothing was seen."""
    if not seen:
        return Guardrail(check, "passed")
    more = len(seen) - MAX_LINES
    lines = (*seen[:MAX_LINES], f"and {more} more") if more > 0 else tuple(seen)
    return Guardrail(check, state, lines, done, override, tuple(columns))


def dropping(
    check: str, seen: Sequence[str], names: Sequence[str], keep: frozenset[str]
) -> tuple[Guardrail, list[str]]:
    """One guardrail that drops what it finds, but for what somebody wants kept."""
    if not names:
        return Guardrail(check, "passed"), []
    unwanted = [name for name in names if name not in keep]
    kept = [name for name in names if name in keep]
    done = []
    if unwanted:
        done.append(f"dropped {listed(unwanted)}")
    if kept:
        done.append(f"kept {listed(kept)} as asked")
    override = f"--keep {quoted(unwanted[0])}" if unwanted else f"--drop {quoted(kept[0])}"
    return found(check, "alerted" if kept else "done", seen, "; ".join(done), override, names), unwanted


def evenly(rows: int, limit: int = SAMPLE_ROWS) -> np.ndarray[Any, Any]:
    """Positions of at most so many rows, spread evenly over all of them, in their order."""
    return np.arange(rows) if rows <= limit else np.linspace(0, rows - 1, limit).astype(np.intp)


def listed(names: Sequence[str], limit: int = 20) -> str:
    return ", ".join(repr(name) for name in names[:limit]) + f" and {len(names) - limit} more" * (len(names) > limit)


def quoted(name: str) -> str:
    """A column's name as an option takes it."""
    return f'"{name}"' if not name.replace("_", "").isalnum() else name
