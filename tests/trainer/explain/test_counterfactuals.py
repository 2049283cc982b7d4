"""Counterfactuals: what they promise the graph keeps, nothing that may not change does, and none is invented."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from simulators.candidates import manifest_of

from protocols.card import Alternative
from protocols.manifest import Manifest, TensorSpec
from trainer.columns import Column
from trainer.errors import MissingColumnError, RequestError
from trainer.explain.counterfactuals import Found, counterfactuals
from trainer.explain.levers import Goal

Array = np.ndarray[Any, Any]

INPUTS = (
    TensorSpec("Torque [Nm]", "float32", low=20.0, high=60.0),
    TensorSpec("wear", "float32", low=0.0, high=250.0),
    TensorSpec("heat", "float32", low=290.0, high=310.0),
    TensorSpec("grade", "string", categories=("L", "M", "H")),
    TensorSpec("idle", "float32", low=1.0, high=1.0),
    TensorSpec("at", "string"),
)
ROW: dict[str, Any] = {
    "Torque [Nm]": np.float32(55),
    "wear": np.float32(200),
    "heat": np.float32(300),
    "grade": "L",
    "idle": np.float32(1),
    "at": "2026-03-01 06:00",
}
EVERY = ("Torque [Nm]", "wear", "heat", "grade")


class Graph:
    """A graph in miniature, of a function of the columns by name."""

    def __init__(self, function: Callable[[dict[str, Array]], Array], classes: tuple[str, ...] = ()) -> None:
        self._function, self._classes = function, classes

    def run(self, names: object, feed: dict[str, Array]) -> list[Array]:
        output = self._function({name: values[:, 0] for name, values in feed.items()}).astype(np.float32)
        if not self._classes:
            return [output.reshape(-1, 1)]
        labels = np.array(self._classes, dtype=object)[(output > 0.5).astype(int)]
        return [labels, np.stack([1 - output, output], axis=1)]


def stress(feed: dict[str, Array]) -> Array:
    grade = np.where(feed["grade"] == "H", -30.0, 0.0)
    return np.asarray(feed["Torque [Nm]"] + 0.1 * feed["wear"] + grade, dtype=np.float64)


def fault(feed: dict[str, Array]) -> Array:
    return np.asarray(1 / (1 + np.exp((60 - stress(feed)) / 4)))


NUMBER = manifest_of({"model.onnx": b""}, inputs=INPUTS)
CLASSES = msgspec.structs.replace(NUMBER, task="classification", classes=("good", "bad"))


def find(
    goal: Goal,
    changeable: tuple[str, ...] = EVERY,
    *,
    known: list[Column] | None = None,
    over: Callable[[], bool] = lambda: False,
    function: Callable[[dict[str, Array]], Array] | None = None,
    row: dict[str, Any] = ROW,
) -> tuple[Found, Graph, Manifest]:
    by_class = goal.kind == "class"
    graph = Graph(function or (fault if by_class else stress), ("good", "bad") if by_class else ())
    manifest = CLASSES if by_class else NUMBER
    return counterfactuals(graph, manifest, row, changeable, goal, known or [], over), graph, manifest


def answer(graph: Graph, row: dict[str, Any], one: Alternative) -> Any:
    changed = {**row, **{change.feature: change.after for change in one.changes}}
    kinds = {name: object if isinstance(value, str) else np.float32 for name, value in changed.items()}
    feed = {name: np.array([[value]], dtype=kinds[name]) for name, value in changed.items()}
    return graph.run(None, feed)[0].reshape(-1)[0]


def sets(found: Found) -> list[tuple[str, ...]]:
    return [tuple(change.feature for change in one.changes) for one in found.alternatives]


def test_each_alternative_does_what_it_says_and_the_fewest_and_smallest_come_first() -> None:
    found, graph, _ = find(Goal("class", "good"))
    assert (found.answer, found.already) == ("bad", False)
    assert sets(found) == [("Torque [Nm]",), ("wear",), ("grade",)]
    for one in found.alternatives:
        assert answer(graph, ROW, one) == one.answer == "good"
        assert one.reached >= 0.5
    torque = found.alternatives[0].changes[0]
    assert torque.before == 55.0
    assert torque.after == pytest.approx(40, abs=0.5)


def test_a_change_is_no_larger_than_it_must_be_and_round() -> None:
    found, _, _ = find(Goal("at most", 70.1), ("Torque [Nm]",))
    (change,) = found.alternatives[0].changes
    assert change.after == 50.0
    found, _, _ = find(Goal("at most", 64.5), ("wear",))
    assert found.alternatives[0].changes[0].after == 90.0


def test_two_columns_are_changed_where_one_does_not_suffice() -> None:
    found, graph, _ = find(Goal("at most", 25.0), ("Torque [Nm]", "wear", "heat"))
    assert sets(found) == [("Torque [Nm]", "wear")]
    assert answer(graph, ROW, found.alternatives[0]) <= 25.0


def test_only_columns_named_as_changeable_change_and_stay_within_the_ranges_seen() -> None:
    specs = {spec.name: spec for spec in INPUTS}
    for changeable in (("wear", "heat"), ("grade", "heat", "wear")):
        found, _, _ = find(Goal("at most", 50.0), changeable)
        for one in found.alternatives:
            for change in one.changes:
                assert change.feature in changeable
                spec = specs[change.feature]
                if isinstance(change.after, str):
                    assert change.after in (spec.categories or ())
                else:
                    assert (spec.low or 0) <= change.after <= (spec.high or 0)


@pytest.mark.parametrize(
    ("wear", "goal", "after"),
    [
        (300, Goal("at most", 82.0), 250.0),  # 270 would do as well, and was never seen
        (300, Goal("at most", 75.05), 200.0),
        (-40, Goal("at least", 53.0), 0.0),
        (-40, Goal("at least", 59.95), 50.0),
    ],
)
def test_a_row_from_outside_of_the_range_seen_is_brought_within_it(wear: float, goal: Goal, after: float) -> None:
    row = {**ROW, "wear": np.float32(wear)}
    found, graph, _ = find(goal, ("wear",), row=row)
    (one,) = found.alternatives
    assert (one.changes[0].before, one.changes[0].after) == (wear, after)
    reached, wanted = answer(graph, row, one), float(goal.value)
    assert reached <= wanted if goal.kind == "at most" else reached >= wanted


def test_where_there_is_none_it_says_how_near_it_comes() -> None:
    found, _, _ = find(Goal("at most", -5.0), ("wear", "heat"))
    assert found.alternatives == ()
    assert found.closest == pytest.approx(55.0)
    assert not found.cut_short


def test_a_row_that_comes_out_so_already_is_said_so() -> None:
    found, _, _ = find(Goal("class", "bad"))
    assert (found.already, found.alternatives) == (True, ())


def test_more_than_three_columns_are_changed_one_after_the_other() -> None:
    names = [f"x{index}" for index in range(6)]
    specs = tuple(TensorSpec(name, "float32", low=0.0, high=1.0) for name in names)
    manifest = msgspec.structs.replace(NUMBER, inputs=specs)
    row = dict.fromkeys(names, np.float32(0))
    graph = Graph(lambda feed: np.sum(list(feed.values()), axis=0))
    found = counterfactuals(graph, manifest, row, names, Goal("at least", 4.5), [], lambda: False)
    (one,) = found.alternatives
    assert len(one.changes) == 5
    assert one.reached >= 4.5


def test_what_was_changed_on_the_way_and_is_not_needed_is_put_back() -> None:
    names = ["decoy", "x0", "x1", "x2", "x3"]
    specs = tuple(TensorSpec(name, "float32", low=0.0, high=1.0) for name in names)
    manifest = msgspec.structs.replace(NUMBER, inputs=specs)

    def jumps(feed: dict[str, Array]) -> Array:
        total = sum(feed[name] for name in names[1:])
        return np.asarray(np.where(total >= 4, 10.0, total + 1.5 * feed["decoy"]))

    row = dict.fromkeys(names, np.float32(0))
    found = counterfactuals(Graph(jumps), manifest, row, names, Goal("at least", 9.0), [], lambda: False)
    assert sets(found) == [("x0", "x1", "x2", "x3")]


def test_whole_numbers_stay_whole() -> None:
    known = [Column("wear", "number", np.arange(10, dtype=np.float32))]
    found, _, _ = find(Goal("at most", 65.33), ("wear",), known=known)
    after = found.alternatives[0].changes[0].after
    assert (after, float(after).is_integer()) == (100.0, True)


def test_a_missing_value_may_be_filled_in() -> None:
    row = {**ROW, "wear": np.float32(np.nan)}
    found, _, _ = find(
        Goal("at most", 60.0), ("wear",), row=row, function=lambda feed: np.nan_to_num(stress(feed), nan=99.0)
    )
    (change,) = found.alternatives[0].changes
    assert change.before is None
    assert isinstance(change.after, float)
    assert change.after <= 50


def test_a_changed_row_unlike_any_known_one_is_called_unusual() -> None:
    random = np.random.default_rng(1)
    torque = random.uniform(20, 60, 300).astype(np.float32)
    noise = random.normal(0, 10, 300).astype(np.float32)
    known = [Column("Torque [Nm]", "number", torque), Column("wear", "number", (torque - 20) * 6 + noise)]
    row = {**ROW, "wear": np.float32(210)}
    found, _, _ = find(Goal("at most", 45.0), ("Torque [Nm]",), known=known, row=row)
    assert found.alternatives[0].unusual
    found, _, _ = find(Goal("at least", 77.0), ("Torque [Nm]",), known=known, row=row)
    assert found.alternatives[0].unusual is False


def test_the_time_ends_it_after_a_set_of_columns() -> None:
    found, _, _ = find(Goal("at most", 25.0), over=lambda: True)
    assert (found.cut_short, found.alternatives) == (True, ())


@pytest.mark.parametrize(
    ("goal", "changeable", "error", "words"),
    [
        (Goal("class", "scrap"), EVERY, RequestError, "has good, bad"),
        (Goal("class", "good"), ("Speed",), MissingColumnError, "'Speed' is not a column"),
        (Goal("class", "good"), ("idle",), RequestError, "one value alone"),
        (Goal("class", "good"), ("at",), RequestError, "'at': it holds dates or times, which cannot be changed"),
        (Goal("class", "good"), ("wear", "at"), RequestError, "name other columns"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    goal: Goal, changeable: tuple[str, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find(goal, changeable)


def test_a_number_is_not_asked_for_a_class() -> None:
    with pytest.raises(RequestError, match="--to is for classes"):
        counterfactuals(Graph(stress), NUMBER, ROW, EVERY, Goal("class", "good"), [], lambda: False)
