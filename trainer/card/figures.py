"""The figures of a card, from the graph that devices run and the rows that it has not learned from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.card import Card, Curve, Effect, Fairness, Front, Interpretable, Segment
from trainer.card.dependence import Output, dependence
from trainer.card.example import example
from trainer.card.moments import comparable
from trainer.card.quality import baseline, calibration, confusion, operating, residuals, true_values
from trainer.card.segments import worst_segments
from trainer.card.together import correlations, groups, ties
from trainer.columns import Column
from trainer.explain.explanation import Explained
from trainer.explain.fairness import Groups, fairness
from trainer.graphs import followed_output, run_graph, to_feed
from trainer.metrics import rarer
from trainer.targets import Target

#: Inputs that get a curve and an effect, the most important first.
TOP = 6


@dataclass(frozen=True, slots=True)
class Material:
    """What figures are made from.

    Attributes:
        session: the graph, opened.
        features, target: every row.
        learn, held_out: rows, by position.
        explained: held-out rows, by this graph.
        fairness: by column the group of every row, as `trainer.explain.fairness.group_labels` makes them.
        output, answers: what models that had not seen the held-out rows give for them, probabilities or predictions
            and, of a classifier, labels; None: what the graph gives.
        interpretable, front: what the search knows of the models that were not chosen.
        loss_name: what their losses are; empty: the metric that the task has.
        interpretable_session: the graph of the interpretable model, opened, where its shapes are to be shown.
        place: of the class that raises the alarm, where costs of mistakes name one of two; it is the one in question.
    """

    session: Any
    features: Sequence[Column]
    target: Target
    learn: np.ndarray[Any, Any]
    held_out: np.ndarray[Any, Any]
    explained: Explained
    fairness: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    output: np.ndarray[Any, Any] | None = None
    answers: np.ndarray[Any, Any] | None = None
    interpretable: Interpretable | None = None
    front: tuple[Front, ...] = ()
    loss_name: str = ""
    interpretable_session: Any = None
    place: int | None = None


def make_card(material: Material, over: Callable[[], bool]) -> Card:
    """Compute a card's figures.

    Args:
        over: asked before each curve: has the time run out?
    """
    target, held_out = material.target, material.held_out
    outputs = run_graph(material.session, to_feed(material.features, held_out))
    answers = outputs[0] if material.answers is None else material.answers
    output, every = followed_output(outputs) if material.output is None else material.output, true_values(target)
    truth = every[held_out]
    by_name = {column.name: column for column in material.features}
    top = [by_name[one.feature] for one in material.explained.importance[:TOP] if one.value > 0]
    place = _place(material)
    bins, of = calibration(target, truth, output, place)
    shown = Output(target.task, target.classes, place)
    undrawn = [column.name for column in top if column.cycles is not None and not comparable(column)]
    drawable = [column for column in top if column.name not in undrawn]
    drawn = _draw(material.session, material, drawable, shown, over)
    places = _places(target, answers)
    return Card(
        held_out=len(held_out),
        baseline=baseline(target, every[material.learn], truth),
        calibrated=of,
        calibration=bins,
        curves=tuple(curve for curve, _ in drawn),
        effects=tuple(effect for _, effect in drawn),
        segments=_segments(material, top, truth, output, over),
        correlations=correlations(top, material.features),
        cut_short=len(drawn) < len(drawable),
        confusion=None if places is None else confusion(target, truth, places),
        operating=() if place is None else operating(truth == place, output[:, place]),
        residuals=residuals(truth, output) if target.task == "regression" else None,
        groups=groups(material.explained, material.features),
        ties=ties(material.explained, material.features, TOP),
        otherwise=example(material.session, material.features, target, held_out, top, place, over),
        fairness=_fairness(material, truth, output, places, place),
        interpretable=material.interpretable,
        shapes=_shapes(material, drawable, shown, over),
        front=material.front,
        loss_name=material.loss_name,
        undrawn=tuple(undrawn),
    )


def _place(material: Material) -> int | None:
    """The class in question, of two: the one that raises the alarm, or that was explained."""
    if len(material.target.classes) != 2:
        return None
    if material.place is not None:
        return material.place
    explained = material.explained.explained
    if len(explained):
        return int(explained[0])
    return rarer(true_values(material.target))


def _places(target: Target, answers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Places of answers among the classes."""
    if target.task == "regression":
        return None
    by_name = {name: place for place, name in enumerate(target.classes)}
    return np.array([by_name[str(answer)] for answer in answers.reshape(-1)])


def _segments(
    material: Material,
    top: Sequence[Column],
    truth: np.ndarray[Any, Any],
    output: np.ndarray[Any, Any],
    over: Callable[[], bool],
) -> tuple[Segment, ...] | None:
    """The worst parts of the rows, by the most important inputs; None where the time ran out before."""
    if over() or not len(material.explained.rows):
        return None
    return worst_segments(top or material.features[:TOP], material.held_out, truth, output, material.target.task)


def _draw(
    session: Any, material: Material, columns: Sequence[Column], shown: Output, over: Callable[[], bool]
) -> list[tuple[Curve, Effect]]:
    """Curve and effect of each column, as far as there is time."""
    drawn = []
    for column in columns:
        found = None if over() else dependence(session, material.features, column, material.held_out, shown, over)
        if found is None:
            break
        drawn.append(found)
    return drawn


def _shapes(
    material: Material, columns: Sequence[Column], shown: Output, over: Callable[[], bool]
) -> tuple[Curve, ...]:
    """Of a sum over columns the partial dependence is the shape of each part."""
    if material.interpretable_session is None:
        return ()
    return tuple(curve for curve, _ in _draw(material.interpretable_session, material, columns, shown, over))


def _fairness(
    material: Material,
    truth: np.ndarray[Any, Any],
    output: np.ndarray[Any, Any],
    places: np.ndarray[Any, Any] | None,
    place: int | None,
) -> tuple[Fairness, ...]:
    target = material.target
    return tuple(
        fairness(Groups(name, labels[material.held_out]), truth, output, target.task, target.classes, places, place)
        for name, labels in material.fairness.items()
    )
