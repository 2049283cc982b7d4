"""An example of what would have to change: one held-out row, and the other answer that is nearest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.card import Otherwise
from protocols.manifest import TensorSpec
from trainer.columns import Column
from trainer.errors import RequestError
from trainer.explain.counterfactuals import counterfactuals
from trainer.explain.levers import Goal
from trainer.graphs import followed_output, run_graph, to_feed
from trainer.guardrails.rail import evenly
from trainer.reference_profile import input_specs
from trainer.targets import Target

Array = np.ndarray[Any, Any]

#: Held-out rows from which the example is taken, and alternatives that are shown.
AMONG, SHOWN = 400, 3


@dataclass(frozen=True, slots=True)
class _Model:
    inputs: tuple[TensorSpec, ...]
    classes: tuple[str, ...]


def example(
    session: Any,
    features: Sequence[Column],
    target: Target,
    held_out: Array,
    top: Sequence[Column],
    place: int | None,
    over: Callable[[], bool],
) -> Otherwise | None:
    """Return the example; None where there is no time, or no input that may change.

    Of two classes it is a row in the middle of those answered with the class in question, of more one with a middling
    probability, of a regression a high one that should come out as the middle one does.

    Args:
        top: the inputs that may change, less points in time.
        place: of the class in question.
    """
    free = [column.name for column in top if column.cycles is None]
    if over() or not free:
        return None
    among = held_out[evenly(len(held_out), AMONG)]
    outputs = run_graph(session, to_feed(features, among))
    output = followed_output(outputs).astype(np.float64)
    if target.task == "regression":
        row, goal = _high_row(output)
    else:
        row, goal = _row_of_class(output, outputs[0].reshape(-1), target.classes, place)
    values = {column.name: column.values[among[row]] for column in features}
    model = _Model(input_specs(features), target.classes)
    known = [Column(column.name, column.kind, column.values[among]) for column in features]
    try:
        found = counterfactuals(session, model, values, free, goal, known, over, SHOWN)
    except RequestError:
        return None
    closest = None if found.alternatives else found.closest
    return Otherwise(found.answer, found.reached, str(goal), found.alternatives, closest)


def _high_row(output: Array) -> tuple[int, Goal]:
    order = np.argsort(output, kind="stable")
    return int(order[int(0.9 * (len(order) - 1))]), Goal("at most", float(f"{np.median(output):.4g}"))


def _row_of_class(output: Array, answers: Array, classes: Sequence[str], place: int | None) -> tuple[int, Goal]:
    labels = [str(answer) for answer in answers]
    if place is None:
        best = output.max(axis=1)
        row = int(np.argsort(best, kind="stable")[len(best) // 2])
        others = np.where(np.array(classes) == labels[row], -1.0, output[row])
        return row, Goal("class", classes[int(others.argmax())])
    asked = np.flatnonzero(np.array(labels) == classes[place])
    if not len(asked):
        return int(output[:, place].argmax()), Goal("class", classes[place])
    middle = asked[np.argsort(output[asked, place], kind="stable")[len(asked) // 2]]
    return int(middle), Goal("class", classes[1 - place])
