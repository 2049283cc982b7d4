"""How the rows of a run are divided: learned from, validated on, held out, and in the end all learned from."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.cases import Case
from trainer.families import Shape
from trainer.graph.encoded import encode, encode_case
from trainer.guardrails.check import CheckedTable
from trainer.guardrails.rail import Guardrail
from trainer.search.material import Material
from trainer.splitting import Layout, divide, draw, usable_folds

Rows = np.ndarray[Any, Any]

#: Share of the budget that one fit of boosted trees may cost nominally; beyond it fewer rows are learned from.
FIT_SHARE = 0.1
#: Share of the budget, and the processors that it is reckoned for, that all folds of such a fit may cost.
FOLDS_SHARE, PROCESSORS = 0.12, 2
#: Share of the budget that one trial may take once there is a model: a little more than those folds.
TRIAL_SHARE = 0.25
#: Folds of tables with at most so many rows, of larger ones, and where time is short; one is a part held back.
FOLDS, LARGE_FOLDS, SHORT_FOLDS = ((300, 10), (1000, 8)), 5, (3, 1)
#: Fits of a model whose seed matters, and rows from which one fit is as good.
FITS, ONE_FIT_ROWS = 3, 60_000
#: Fewer rows than this are never left out.
LEAST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Division:
    """Rows by position: what the search learns from and validates on, what measures it, and all of them together.

    Attributes:
        parts: folds of the search.
        fits: of a model whose seed matters, in the end.
        drawn: how many rows the search was limited to, None: all.
    """

    learn: Rows
    held_out: Rows
    parts: int
    fits: int
    drawn: int | None


def shape_of(checked: CheckedTable) -> Shape:
    task = checked.target.task
    classes = len(checked.target.classes) if task == "classification" else 0
    return Shape(task, len(checked.target.values), len(checked.features), classes)


def divide_rows(
    checked: CheckedTable, budget_s: float, seed: int, slow: float = 1.0
) -> tuple[Division, list[Guardrail]]:
    """Divide a table for a budget, and say so where the budget is too short for all of its rows.

    Args:
        slow: how many times longer than nominal this machine takes.
    """
    learn, held_out = divide(checked, seed)
    shape = shape_of(checked)
    limit = len(learn)
    while limit > LEAST_ROWS and slow * nominal_fit_s(limit, shape) > FIT_SHARE * budget_s:
        limit = int(limit * 0.8)
    allowed = [next((folds for rows, folds in FOLDS if limit <= rows), LARGE_FOLDS), *SHORT_FOLDS]
    fit_s = slow * nominal_fit_s(limit, shape)
    parts = next((one for one in allowed if one * fit_s <= FOLDS_SHARE * budget_s * PROCESSORS), 1)
    fits = 1 if parts == 1 or limit > ONE_FIT_ROWS else FITS
    if limit == len(learn):
        return Division(learn, held_out, parts, fits, None), []
    seen = f"{len(learn)} rows to learn from are too many for a budget of {budget_s:g} s"
    newest = checked.ordered and checked.target.task == "regression"
    done = f"learned from {limit} of them, " + ("the newest" if newest else "drawn by the seed")
    override = f"--budget {math.ceil(budget_s * len(learn) / limit)}s"
    rail = Guardrail("budget", "alerted", (seen,), done, override)
    return Division(draw(learn, checked, limit, seed), held_out, parts, fits, limit), [rail]


def divided_again(checked: CheckedTable, seed: int, drawn: int | None) -> Division:
    """Return the division that a recipe was made with, for fitting it once more."""
    learn, held_out = divide(checked, seed)
    if drawn is not None:
        learn = draw(learn, checked, drawn, seed)
    return Division(learn, held_out, 1, 1, drawn)


def make_material(checked: CheckedTable, division: Division, cases: tuple[Case, ...], seed: int) -> Material:
    """Return what the workers need."""
    target = checked.target.values
    codes = np.unique(target, return_inverse=True)[1] if checked.target.classes else target.astype(np.float64)
    task, groups = checked.target.task, checked.groups
    learn = division.learn
    layout = Layout(task, None if groups is None else groups[learn], checked.ordered)
    found = [(learn[seen], learn[unseen]) for seen, unseen in usable_folds(codes[learn], layout, seed, division.parts)]
    rows = encode(checked.features)
    return Material(
        rows=rows,
        target=codes,
        shape=shape_of(checked),
        folds=tuple(found),
        held_out=division.held_out,
        final=np.sort(np.concatenate([learn, division.held_out])),
        cases=tuple(encode_case(case, rows) for case in cases),
        seed=seed,
    )


def nominal_fit_s(rows: int, shape: Shape) -> float:
    """Seconds that one fit of boosted trees takes on an ordinary core, about; measured, not derived."""
    outputs = shape.classes if shape.classes > 2 else 1
    return 0.02 + outputs * 150 * (7e-4 + 7e-9 * rows * max(shape.columns, 1))
