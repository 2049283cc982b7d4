"""Counterfactuals: the fewest and smallest changes of a row with which the model answers otherwise.

One column alone is tried first, then two, then three, each over the range seen; a set of columns that holds a smaller
one that suffices is not looked at. What is found is made as small as it can be, and as round. Where three do not do,
columns are changed one after the other as long as that brings the goal nearer, and what was not needed is put back.

Source: Wachter, Mittelstadt, Russell, "Counterfactual explanations without opening the black box"; the wants of
sparsity, nearness and diversity as in Mothilal, Sharma, Tan, "Explaining machine learning classifiers through diverse
counterfactual explanations".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from protocols.card import Alternative, Change
from trainer.columns import Column
from trainer.explain.levers import STEPS, Asked, Goal, Lever, Row, Signature, levers

Array = np.ndarray[Any, Any]

#: Alternatives that are given, and columns that are tried in twos and in threes: the most promising ones.
MOST, IN_TWOS, IN_THREES = 5, 8, 6
#: Halvings by which a change is made smaller, and by how much a rounder number may be larger again.
HALVINGS, ROUNDER = 14, 1.05
#: Rows among which it can be judged whether a changed row is unusual.
KNOWN_ROWS = 50


@dataclass(frozen=True, slots=True)
class Found:
    """The alternatives, fewest and smallest changes first.

    Attributes:
        answer, reached: of the row as it is, as in `Alternative`.
        already: the row comes out so as it is.
        closest: the nearest that any change came to the goal, in the unit of `reached`.
    """

    answer: str
    reached: float
    alternatives: tuple[Alternative, ...]
    already: bool
    closest: float
    cut_short: bool


def counterfactuals(
    session: Any,
    model: Signature,
    row: Row,
    changeable: Sequence[str],
    goal: Goal,
    known: Sequence[Column],
    over: Callable[[], bool],
    most: int = MOST,
) -> Found:
    """Look for changes of a row that make the graph answer as wanted, within the ranges that its inputs tell.

    Args:
        row: value of each input: float32, missing NaN, or str.
        changeable: inputs that may be changed.
        known: rows like those learned from, as columns; by them an alternative is called unusual.
        over: has the time run out? Asked after each set of columns.

    Raises:
        MissingColumnError, RequestError: a name is no input, or the goal is none of this model.
    """
    asked = Asked(session, model, row, goal)
    search = _Search(asked, levers(model, row, changeable, known), over)
    met, near, answers = asked.ask({})
    if met[0]:
        return Found(answers[0], float(near[0]), (), True, float(near[0]), False)
    search.note(near)
    made = [_alternative(asked, changes, model, known) for changes in search.run(most)]
    return Found(answers[0], float(near[0]), tuple(made), False, search.closest, search.cut_short)


#: Levers, each with the value that it is set to.
_Set = dict[str, Any]


class _Search:
    """Sets of levers, smallest first."""

    def __init__(self, asked: Asked, given: Sequence[Lever], over: Callable[[], bool]) -> None:
        self._asked, self._levers, self._over = asked, {lever.spec.name: lever for lever in given}, over
        self.closest, self.cut_short = float("nan"), False

    def note(self, near: Array) -> None:
        progress = self._asked.progress(near)
        best = float(near[int(progress.argmax())])
        if np.isnan(self.closest) or self._asked.progress(np.array(best)) > self._asked.progress(
            np.array(self.closest)
        ):
            self.closest = best

    def run(self, most: int) -> list[_Set]:
        """Return what suffices, sorted."""
        found: list[_Set] = []
        promise = {}
        for name, lever in self._levers.items():
            best, promise[name] = self._try((lever,), len(lever.values))
            found += [] if best is None else [best]
            if self._late():
                return self._sorted(found)[:most]
        ranked = sorted(promise, key=lambda name: -promise[name])
        for size, among, steps in ((2, IN_TWOS, STEPS), (3, IN_THREES, 13)):
            if len(found) >= most:
                break
            for names in combinations(ranked[:among], size):
                if any(set(one) <= set(names) for one in found):
                    continue
                best, _ = self._try([self._levers[name] for name in names], steps)
                found += [] if best is None else [best]
                if self._late():
                    return self._sorted(found)[:most]
        if not found and len(ranked) > 3:
            found += self._greedy()
        return self._sorted(found)[:most]

    def _late(self) -> bool:
        self.cut_short = self.cut_short or self._over()
        return self.cut_short

    def _try(self, given: Sequence[Lever], steps: int) -> tuple[_Set | None, float]:
        """Return the cheapest setting of these levers that suffices, made small, and how near the best one comes."""
        thin = [
            np.unique(np.linspace(0, len(lever.values) - 1, min(steps, len(lever.values))).astype(int))
            for lever in given
        ]
        places = [each.ravel() for each in np.meshgrid(*thin, indexing="ij")]
        changes = {lever.spec.name: lever.values[place] for lever, place in zip(given, places, strict=True)}
        met, near, _ = self._asked.ask(changes)
        self.note(near)
        best = float(self._asked.progress(near).max())
        if not met.any():
            return None, best
        costs = sum((lever.costs[place] for lever, place in zip(given, places, strict=True)), np.zeros(len(met)))
        cheapest = int(np.where(met, costs, np.inf).argmin())
        return self._small({name: values[cheapest] for name, values in changes.items()}), best

    def _greedy(self) -> list[_Set]:
        """Change one lever after the other to what brings the goal nearest; put back what was not needed."""
        setting: _Set = {}
        before = -np.inf
        for _ in self._levers:
            options = [(name, value) for name, lever in self._levers.items() for value in lever.values]
            changes = {
                name: np.array(
                    [value if one == name else self._value(setting, name) for one, value in options], dtype=object
                )
                for name in self._levers
            }
            met, near, _ = self._asked.ask(changes)
            self.note(near)
            best = int(self._asked.progress(near).argmax())
            setting[options[best][0]] = options[best][1]
            if met[best]:
                return [self._small(self._without_needless(setting))]
            gained = float(self._asked.progress(near)[best])
            if gained <= before or self._late():
                break
            before = gained
        return []

    def _value(self, setting: _Set, name: str) -> Any:
        return setting.get(name, self._levers[name].before)

    def _without_needless(self, setting: _Set) -> _Set:
        for name in sorted(setting, key=lambda one: self._levers[one].cost(setting[one])):
            less = {one: value for one, value in setting.items() if one != name}
            if less and self._suffices(less):
                setting = less
        return setting

    def _suffices(self, setting: _Set) -> bool:
        return bool(self._asked.ask({name: np.array([value]) for name, value in setting.items()})[0][0])

    def _small(self, setting: _Set) -> _Set:
        """Move each number towards its own value as far as the goal stays met, then to a round number near that.

        Where its own value lies outside the range seen, the end of the range is as far as it goes.
        """
        for name in sorted(setting, key=lambda one: -self._levers[one].cost(setting[one])):
            lever = self._levers[name]
            if not lever.numeric or np.isnan(lever.before):
                continue
            fails, holds = lever.nearest, float(setting[name])
            for _ in range(HALVINGS):
                middle = float(np.float32((fails + holds) / 2))
                middle = float(np.round(middle)) if lever.whole else middle
                if middle in (fails, holds):
                    break
                fails, holds = (fails, middle) if self._suffices({**setting, name: middle}) else (middle, holds)
            setting = {**setting, name: self._round(lever, setting, holds)}
        return setting

    def _round(self, lever: Lever, setting: _Set, value: float) -> float:
        """Return the roundest number about as near that suffices too."""
        limit = lever.cost(value) * ROUNDER
        low, high = float(lever.spec.low or 0.0), float(lever.spec.high or 0.0)
        for candidate in _rounder(value):
            fits = low <= candidate <= high and lever.cost(candidate) <= limit
            if fits and self._suffices({**setting, lever.spec.name: candidate}):
                return candidate
        return value

    def _sorted(self, found: Sequence[_Set]) -> list[_Set]:
        def order(setting: _Set) -> tuple[int, float, list[str]]:
            return len(setting), sum(self._levers[name].cost(value) for name, value in setting.items()), sorted(setting)

        return sorted(found, key=order)


def _rounder(value: float) -> Iterator[float]:
    """Numbers near a value, of one significant digit, then of two, and so on."""
    if not value:
        return
    size = int(np.floor(np.log10(abs(value))))
    for digits in range(1, 7):
        step = 10.0 ** (size + 1 - digits)
        for whole in (np.floor(value / step), np.ceil(value / step)):
            yield float(f"{whole * step:.{digits}g}")


def _alternative(asked: Asked, setting: _Set, model: Signature, known: Sequence[Column]) -> Alternative:
    _, near, answers = asked.ask({name: np.array([value]) for name, value in setting.items()})
    changes = tuple(
        Change(spec.name, _missing_as_none(asked.row[spec.name]), _plain(setting[spec.name]))
        for spec in model.inputs
        if spec.name in setting
    )
    return Alternative(changes, answers[0], float(near[0]), _unusual(model, {**asked.row, **setting}, known))


def _missing_as_none(value: Any) -> float | str | None:
    return None if (not value if isinstance(value, str) else np.isnan(value)) else _plain(value)


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(f"{float(value):.7g}")


def _unusual(model: Signature, row: Row, known: Sequence[Column]) -> bool | None:
    """Whether a row lies further from its nearest known one than 99 of 100 known ones do from theirs."""
    count = len(known[0].values) if known else 0
    if count < KNOWN_ROWS:
        return None
    spans = {spec.name: (spec.high or 0.0) - (spec.low or 0.0) for spec in model.inputs}
    among = np.linspace(0, count - 1, min(count, 400)).astype(int)
    own, each = np.zeros(len(among)), np.zeros((len(among), len(among)))
    for column in known:
        values, value = column.values[among], row[column.name]
        if column.kind == "number":
            span = spans[column.name] or 1.0
            own += np.nan_to_num(np.abs(values - np.float32(value)), nan=span) / span
            each += np.nan_to_num(np.abs(values[:, None] - values[None]), nan=span) / span
        else:
            own += values != value
            each += values[:, None] != values[None]
    np.fill_diagonal(each, np.inf)
    return bool(own.min() > np.percentile(each.min(axis=1), 99))
