"""The figures of a card, from the graph that devices run and the rows that it has not learned from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.card import Baseline, Bin, Card, Correlation, Fairness, Front, Interpretable
from trainer.card.dependence import Output, dependence
from trainer.card.segments import worst_segments
from trainer.columns import Column
from trainer.explanation import Explained
from trainer.fairness import Groups, fairness
from trainer.graphs import followed_output, run_graph, to_feed
from trainer.guardrails.rail import evenly
from trainer.metrics import classification_metrics, regression_metrics
from trainer.targets import Target

#: Inputs that get a curve and an effect, the most important first.
TOP = 6
#: Rank correlation from which two sensors are named as moving together.
TOGETHER = 0.7
#: Parts of a calibration, and the held-out rows that each has at least.
BINS, BIN_ROWS = 10, 10
#: Rows of a rank correlation.
RANKED_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Material:
    """What figures are made from.

    Attributes:
        session: the graph, opened.
        features, target: every row.
        learn, held_out: rows, by position.
        explained: held-out rows, by this graph.
        fairness: by column the group of every row, as `trainer.fairness.group_labels` makes them.
        interpretable, front: what the search knows of the models that were not chosen.
    """

    session: Any
    features: Sequence[Column]
    target: Target
    learn: np.ndarray[Any, Any]
    held_out: np.ndarray[Any, Any]
    explained: Explained
    fairness: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    interpretable: Interpretable | None = None
    front: tuple[Front, ...] = ()


def make_card(material: Material, over: Callable[[], bool]) -> Card:
    """Compute a card's figures.

    Args:
        over: asked before each curve: has the time run out?
    """
    target, held_out = material.target, material.held_out
    outputs = run_graph(material.session, to_feed(material.features, held_out))
    output, truth = followed_output(outputs), _truth(target)
    by_name = {column.name: column for column in material.features}
    top = [by_name[one.feature] for one in material.explained.importance[:TOP] if one.value > 0]
    bins, of = _calibration(target, truth[held_out], output)
    curves, effects = [], []
    shown = Output(target.task, target.classes, truth)
    for column in top:
        if over():
            break
        curve, effect = dependence(material.session, material.features, column, held_out, shown)
        curves.append(curve)
        effects.append(effect)
    return Card(
        held_out=len(held_out),
        baseline=_baseline(target, truth[material.learn], truth[held_out]),
        calibrated=of,
        calibration=bins,
        curves=tuple(curves),
        effects=tuple(effects),
        segments=worst_segments(top, held_out, truth[held_out], output, target.task),
        correlations=_correlations(top, material.features),
        cut_short=len(curves) < len(top),
        fairness=_fairness(material, truth[held_out], output, outputs[0]),
        interpretable=material.interpretable,
        front=material.front,
    )


def _fairness(
    material: Material, truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any], answers: np.ndarray[Any, Any]
) -> tuple[Fairness, ...]:
    target, places = material.target, None
    if target.task == "classification":
        by_name = {name: place for place, name in enumerate(target.classes)}
        places = np.array([by_name[str(answer)] for answer in answers.reshape(-1)])
    return tuple(
        fairness(Groups(name, groups[material.held_out]), truth, output, target.task, target.classes, places)
        for name, groups in material.fairness.items()
    )


def _truth(target: Target) -> np.ndarray[Any, Any]:
    """The target of every row: numbers, or places among the classes."""
    if target.task == "regression":
        return target.values.astype(np.float64)
    return np.asarray(np.unique(target.values, return_inverse=True)[1])


def _baseline(target: Target, learned: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> Baseline:
    if target.task == "regression":
        return Baseline("mean", regression_metrics(truth, np.full(len(truth), learned.mean())))
    shares = np.bincount(learned, minlength=len(target.classes)) / len(learned)
    figures = classification_metrics(truth, np.tile(shares, (len(truth), 1)))
    return Baseline("shares", figures)


def _calibration(
    target: Target, truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]
) -> tuple[tuple[Bin, ...], str]:
    """Bins of equal rows by the prediction, and what is predicted and observed."""
    if target.task == "regression":
        predicted, observed, of = output, truth, target.name
    elif len(target.classes) == 2:
        place = int(np.bincount(truth, minlength=2).argmin())  # the rarer class is the one that people ask about
        predicted, observed, of = output[:, place], truth == place, f"share of {target.classes[place]!r}"
    else:
        predicted, observed, of = output.max(axis=1), output.argmax(axis=1) == truth, "share of right answers"
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, max(1, min(BINS, len(order) // BIN_ROWS)))
    bins = tuple(Bin(float(predicted[part].mean()), float(observed[part].mean()), len(part)) for part in parts)
    return bins, of


def _correlations(top: Sequence[Column], features: Sequence[Column]) -> tuple[Correlation, ...]:
    """For each important number its closest other number, where they move together."""
    numbers = [column for column in features if column.kind == "number"]
    if len(numbers) < 2:
        return ()
    rows = evenly(len(numbers[0].values), RANKED_ROWS)
    ranks = np.stack([_ranks(column.values[rows]) for column in numbers])
    names = [column.name for column in numbers]
    told: dict[frozenset[str], Correlation] = {}
    for column in top:
        if column.kind != "number":
            continue
        place = names.index(column.name)
        together = ranks @ ranks[place]
        together[place] = 0.0
        closest = int(np.abs(together).argmax())
        if abs(together[closest]) >= TOGETHER:
            pair = frozenset((column.name, names[closest]))
            value = float(np.clip(together[closest], -1, 1))
            told.setdefault(pair, Correlation(column.name, names[closest], value))
    return tuple(told.values())


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ranks of length one, missing in the middle."""
    ranks = np.unique(values, return_inverse=True)[1].astype(np.float64)
    missing = np.isnan(values)
    ranks -= ranks[~missing].mean() if (~missing).any() else 0.0
    ranks[missing] = 0.0
    length = np.linalg.norm(ranks)
    return np.asarray(ranks / length if length else ranks)
