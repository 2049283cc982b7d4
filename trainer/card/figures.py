"""The figures of a card, from the graph that devices run and the rows that it has not learned from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.card import Card, Curve, Effect, Fairness, Front, Interpretable
from trainer.card.dependence import Output, dependence
from trainer.card.example import example
from trainer.card.quality import baseline, calibration, confusion, operating, residuals, true_values
from trainer.card.segments import worst_segments
from trainer.card.together import correlations, groups, ties
from trainer.columns import Column
from trainer.explain.explanation import Explained
from trainer.explain.fairness import Groups, fairness
from trainer.graphs import followed_output, run_graph, to_feed
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
    curves, effects = _curves(material.session, material, top, shown, over)
    places = _places(target, answers)
    return Card(
        held_out=len(held_out),
        baseline=baseline(target, every[material.learn], truth),
        calibrated=of,
        calibration=bins,
        curves=curves,
        effects=effects,
        segments=() if over() else worst_segments(top, held_out, truth, output, target.task),
        correlations=correlations(top, material.features),
        cut_short=len(curves) < len(top),
        confusion=None if places is None else confusion(target, truth, places),
        operating=() if place is None else operating(truth == place, output[:, place]),
        residuals=residuals(truth, output) if target.task == "regression" else None,
        groups=groups(material.explained, material.features),
        ties=ties(material.explained, material.features, TOP),
        otherwise=example(material.session, material.features, target, held_out, top, place, over),
        fairness=_fairness(material, truth, output, places),
        interpretable=material.interpretable,
        shapes=_shapes(material, top, shown, over),
        front=material.front,
        loss_name=material.loss_name,
    )


def _place(material: Material) -> int | None:
    """The class in question, of two: the one that was explained."""
    if len(material.target.classes) != 2:
        return None
    explained = material.explained.explained
    if len(explained):
        return int(explained[0])
    return int(np.bincount(true_values(material.target), minlength=2).argmin())


def _places(target: Target, answers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Places of answers among the classes."""
    if target.task == "regression":
        return None
    by_name = {name: place for place, name in enumerate(target.classes)}
    return np.array([by_name[str(answer)] for answer in answers.reshape(-1)])


def _curves(
    session: Any, material: Material, columns: Sequence[Column], shown: Output, over: Callable[[], bool]
) -> tuple[tuple[Curve, ...], tuple[Effect, ...]]:
    curves, effects = [], []
    for column in columns:
        if over():
            break
        if column.cycles is not None:  # no moment stands for another
            continue
        found = dependence(session, material.features, column, material.held_out, shown, over)
        if found is None:
            break
        curves.append(found[0])
        effects.append(found[1])
    return tuple(curves), tuple(effects)


def _shapes(
    material: Material, columns: Sequence[Column], shown: Output, over: Callable[[], bool]
) -> tuple[Curve, ...]:
    """Of a sum over columns the partial dependence is the shape of each part."""
    if material.interpretable_session is None:
        return ()
    return _curves(material.interpretable_session, material, columns, shown, over)[0]


def _fairness(
    material: Material,
    truth: np.ndarray[Any, Any],
    output: np.ndarray[Any, Any],
    places: np.ndarray[Any, Any] | None,
) -> tuple[Fairness, ...]:
    target = material.target
    return tuple(
        fairness(Groups(name, labels[material.held_out]), truth, output, target.task, target.classes, places)
        for name, labels in material.fairness.items()
    )
