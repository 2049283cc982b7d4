"""What may be changed of a row, and what the graph answers then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from protocols.manifest import TensorSpec
from trainer.columns import Column
from trainer.errors import MissingColumnError, RequestError
from trainer.graphs import run_graph

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

#: Values at which a number is tried, from the lowest seen to the highest.
STEPS = 41


class Signature(Protocol):
    """What must be known of a model; a manifest is one."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    @property
    def classes(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Goal:
    """The answer that is wanted: a class, or a number at most or at least so large."""

    kind: Literal["class", "at most", "at least"]
    value: str | float

    def __str__(self) -> str:
        return f"{self.value!r}" if isinstance(self.value, str) else f"{self.kind} {self.value:.6g}"


@dataclass(frozen=True, slots=True)
class Lever:
    """One input that may be changed.

    Attributes:
        values: to try, nearest to the row's own first.
        costs: how far each is from it: a share of the range seen, or 1 for another category; shape as values.
        whole: only whole numbers have been seen.
    """

    spec: TensorSpec
    before: Any
    values: Array
    costs: Array
    whole: bool = False

    @property
    def numeric(self) -> bool:
        return self.spec.dtype == "float32"

    @property
    def nearest(self) -> float:
        """The number within the range seen that is nearest to the row's own: that itself, unless it lies outside."""
        low, high = float(self.spec.low or 0.0), float(self.spec.high or 0.0)
        return min(max(float(self.before), low), high)

    def cost(self, value: Any) -> float:
        if not self.numeric:
            return float(value != self.before)
        low, high = float(self.spec.low or 0.0), float(self.spec.high or 0.0)
        return 1.0 if np.isnan(self.before) else abs(float(value) - float(self.before)) / (high - low)


def levers(model: Signature, row: Row, names: Sequence[str], known: Sequence[Column]) -> list[Lever]:
    """Return the named inputs as levers; those of which one value alone was seen are none.

    Args:
        known: rows like those learned from, from which whole numbers are seen.

    Raises:
        MissingColumnError: a name is no input.
        RequestError: one of them holds points in time, or none of them can be changed.
    """
    specs = {spec.name: spec for spec in model.inputs}
    for name in names:
        if name not in specs:
            raise MissingColumnError("--change", name, specs)
        if specs[name].dtype == "string" and specs[name].categories is None:
            raise RequestError(
                f"--change {name!r}: it holds dates or times, which cannot be changed, since no moment comes again; "
                "name other columns"
            )
    whole = {column.name for column in known if column.kind == "number" and _whole(column.values)}
    made = [_lever(specs[name], row[name], name in whole) for name in dict.fromkeys(names)]
    found = [lever for lever in made if len(lever.values)]
    if not found:
        raise RequestError(f"--change {', '.join(names)}: one value alone was seen of each; name other columns")
    return found


def _whole(values: Array) -> bool:
    there = values[~np.isnan(values)]
    return bool(len(there)) and bool((there == np.round(there)).all())


def _lever(spec: TensorSpec, before: Any, whole: bool) -> Lever:
    if spec.dtype != "float32":
        values = np.array([value for value in spec.categories or () if value != before], dtype=object)
        return Lever(spec, before, values, np.ones(len(values)))
    if spec.low is None or spec.high is None or spec.low == spec.high:
        return Lever(spec, before, np.empty(0, dtype=np.float32), np.empty(0))
    grid = np.linspace(spec.low, spec.high, STEPS)
    values = np.unique(np.clip(np.round(grid) if whole else grid, spec.low, spec.high).astype(np.float32))
    values = values[values != before]
    bare = Lever(spec, before, values, np.empty(0), whole)
    costs = np.array([bare.cost(value) for value in values])
    order = np.argsort(costs, kind="stable")
    return Lever(spec, before, values[order], costs[order], whole)


class Asked:
    """A graph that is asked about one row with some of its values changed.

    Args:
        row: value of each input, float32 or str.
    """

    def __init__(self, session: Any, model: Signature, row: Row, goal: Goal) -> None:
        self._session, self._model, self.row, self.goal = session, model, row, goal
        if (goal.kind == "class") != bool(model.classes):
            raise RequestError("--to is for classes, --below and --above are for numbers")
        if goal.kind == "class" and goal.value not in model.classes:
            raise RequestError(f"--to {goal.value!r} is no class of the model; it has {', '.join(model.classes)}")

    def ask(self, changes: Mapping[str, Array]) -> tuple[Array, Array, list[str]]:
        """Return for each change whether the goal is met, how near it is, and the answer.

        Args:
            changes: input -> its values, all of one length.

        Returns:
            Met, shape (changes,); what `Alternative.reached` says, shape (changes,); the answers.
        """
        count = len(next(iter(changes.values()))) if changes else 1
        feed = {}
        for spec in self._model.inputs:
            kind: Any = np.float32 if spec.dtype == "float32" else object
            values = changes.get(spec.name)
            full = np.full(count, self.row[spec.name], dtype=kind) if values is None else values.astype(kind)
            feed[spec.name] = full.reshape(-1, 1)
        answers, *rest = run_graph(self._session, feed)
        answers = answers.reshape(-1)
        if self.goal.kind == "class":
            labels = [str(answer) for answer in answers]
            near = rest[0][:, list(self._model.classes).index(str(self.goal.value))].astype(np.float64)
            return np.array([label == self.goal.value for label in labels]), near, labels
        near = answers.astype(np.float64)
        met = near <= float(self.goal.value) if self.goal.kind == "at most" else near >= float(self.goal.value)
        return met, near, [f"{value:.6g}" for value in near]

    def progress(self, near: Array) -> Array:
        """Return what is the larger the nearer the goal is."""
        return -near if self.goal.kind == "at most" else near
