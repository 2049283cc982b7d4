"""The target: which task it makes, whether there is enough of it, and of each class."""

import numpy as np
import pandas as pd

from protocols.manifest import Task
from trainer.guardrails.rail import Guardrail, State, found
from trainer.targets import MIN_CLASS_ROWS, Target, labels_as_text

#: Rows under which figures are too rough to trust.
FEW_ROWS = 200
#: A class with a smaller share is rare.
RARE_CLASS = 0.05
#: Whole numbers with at most so many different values may be codes.
AMBIGUOUS_VALUES = 50


def task_rail(target: Target, asked: Task | None) -> Guardrail:
    """Whole numbers may be amounts or codes: what was made of them is told."""
    whole = target.values.dtype != object and bool((target.values == np.round(target.values)).all())
    unique = len(np.unique(target.values)) if whole else 0
    if asked or unique <= 2 or unique > AMBIGUOUS_VALUES:
        return Guardrail("task", "passed", (target.task,))
    other = "classification" if target.task == "regression" else "regression"
    seen = f"{target.name!r} has {unique} different whole numbers, which may be amounts or codes of classes"
    return Guardrail("task", "alerted", (seen,), f"took it as a {target.task}", f"--task {other}", (target.name,))


def rows_rail(target: Target, columns: int) -> Guardrail:
    """Whether there are rows enough, by themselves and for so many columns."""
    rows = len(target.values)
    seen = []
    if rows < FEW_ROWS:
        seen.append(f"{rows} labelled rows; under {FEW_ROWS} the figures below are rough")
    if columns > rows:
        seen.append(
            f"{columns} columns and {rows} labelled rows: among so many columns some fit the target by chance alone"
        )
    if not seen:
        return Guardrail("enough rows", "passed", (f"{rows} labelled rows",))
    override = "add rows" if columns <= rows else "add rows, or --drop columns that cannot matter"
    return Guardrail("enough rows", "alerted", tuple(seen), "nothing", override)


def label_rail(target: Target) -> Guardrail:
    seen = []
    if target.unlabelled:
        seen.append(f"{target.unlabelled} rows have no value in {target.name!r}")
    if target.mixed:
        seen.append(f"{target.mixed} rows have text instead of a number in {target.name!r}")
    if target.infinite:
        seen.append(f"{target.infinite} rows have an infinite value in {target.name!r}")
    state: State = "alerted" if target.mixed or target.infinite else "done"
    return found("labels", state, seen, "left these rows out", "fill in the target", (target.name,))


def balance_rails(target: Target) -> list[Guardrail]:
    if target.task == "regression":
        return []
    rails = []
    if target.rare:
        seen = [f"class {name!r} has {count} rows" for name, count in target.rare.items()]
        done = f"left out classes with under {MIN_CLASS_ROWS} rows"
        rails.append(found("rare classes", "done", seen, done, "add rows of these classes", (target.name,)))
    shares = pd.Series(labels_as_text(target.values), dtype=object).value_counts(normalize=True).sort_index().to_dict()
    rare = [f"class {name!r} is {share:.2%} of the rows" for name, share in shares.items() if share < RARE_CLASS]
    done = "kept all rows: the metric (log loss) stays honest under imbalance, accuracy alone would not"
    rails.append(found("class balance", "alerted", rare, done, "add rows of the rare class"))
    return rails
