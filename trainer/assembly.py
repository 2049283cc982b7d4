"""From a proven graph to a candidate's files and manifest."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from protocols.manifest import (
    Contributions,
    Importance,
    Lineage,
    Manifest,
    ParityCertificate,
    TensorSpec,
    Tolerance,
)
from protocols.recipe import Decision
from trainer.candidate import file_info
from trainer.cases import Case
from trainer.columns import Column
from trainer.footprint import measure_footprint
from trainer.golden import golden_bytes
from trainer.graph.contributions import contribution_spec
from trainer.graph.featurizer import feature_names
from trainer.graph.form import operators, opsets
from trainer.graphs import PROVIDER, followed_output, open_graph, run_graph, to_feed
from trainer.metrics import METRIC, classification_metrics, regression_metrics
from trainer.reference_profile import input_specs, reference_bytes
from trainer.targets import Target


@dataclass(frozen=True, slots=True)
class Subject:
    """A proven graph and what is known about it.

    Attributes:
        features, target: every row; inputs of the graph in order.
        held_out: rows that measure it, by position.
        labelled: False where the target is a stand-in, because the sample had none: nothing is measured then.
        importance: of the raw columns.
        contributions: what the graph's output of that name is, where it has one.
        output: what is measured on the rows held out where the graph itself has learned from them; None: the graph's.
    """

    model: str
    graph: bytes
    features: tuple[Column, ...]
    target: Target
    held_out: np.ndarray[Any, Any]
    cases: tuple[Case, ...]
    certificate: ParityCertificate
    lineage: Lineage
    importance: tuple[Importance, ...] = ()
    labelled: bool = True
    licence: str | None = None
    author: str | None = None
    latency_limit_ms: float | None = None
    cpu_features: tuple[str, ...] = ()
    contributions: Contributions | None = None
    output: np.ndarray[Any, Any] | None = None


def assemble(subject: Subject, now: float) -> tuple[Manifest, dict[str, bytes]]:
    """Measure the graph and return its manifest and the three files that it lists.

    Args:
        now: seconds since the epoch.
    """
    session = open_graph(subject.graph)
    output = subject.output
    if output is None:
        output = followed_output(run_graph(session, to_feed(subject.features, subject.held_out)))
    return compose(subject, output, golden_bytes(session, feature_names(subject.features), subject.cases), now)


def compose(
    subject: Subject, output: np.ndarray[Any, Any], golden: bytes, now: float
) -> tuple[Manifest, dict[str, bytes]]:
    """As `assemble`, with what the graph gave for the held-out rows and the golden vectors at hand.

    Args:
        output: probabilities (rows, classes) of a classifier, predictions (rows,) of a regression.
    """
    reference = reference_bytes(subject.features, output, subject.target.classes)
    files = {"golden.npz": golden, "reference": reference, "model.onnx": subject.graph}
    graph = onnx.ModelProto.FromString(subject.graph)
    created = datetime.datetime.fromtimestamp(now, datetime.UTC)
    target, recipe = subject.target, subject.lineage.recipe
    decision = None if recipe is None else recipe.decision
    more = (contribution_spec(len(subject.features)),) if subject.contributions is not None else ()
    manifest = Manifest(
        model=subject.model,
        task=target.task,
        target=target.name,
        created=created.isoformat(timespec="seconds"),
        files={name: file_info(data) for name, data in files.items()},
        inputs=input_specs(subject.features),
        outputs=(*output_specs(target), *more),
        opset=opsets(graph),
        operators=operators(graph),
        providers={PROVIDER: subject.certificate.tolerance},
        footprint=measure_footprint(subject.graph, golden),
        lineage=subject.lineage,
        parity=subject.certificate,
        metric=METRIC[target.task],
        metrics=measure(target, target.values[subject.held_out], output, decision) if subject.labelled else {},
        importance=subject.importance,
        classes=target.classes,
        licence=subject.licence,
        author=subject.author,
        latency_limit_ms=subject.latency_limit_ms,
        cpu_features=subject.cpu_features,
        elsewhere=elsewhere(graph, subject.certificate.tolerance),
        contributions=subject.contributions,
    )
    return manifest, files


def elsewhere(graph: onnx.ModelProto, tolerance: Tolerance) -> Tolerance | None:
    """Return how far the outputs of a provider that is not at hand here may lie from the golden ones.

    Accelerators add up in another order, so they get ten times the room of the certificate, and a thousandth at the
    least. None have the operators of `ai.onnx.ml` (trees, encoders): a graph with one of those is left to the CPU.
    """
    if any(node.domain not in ("", "ai.onnx") for node in graph.graph.node):
        return None
    return Tolerance(max(10 * tolerance.absolute, 1e-3), max(10 * tolerance.relative, 1e-3))


def measure(
    target: Target, truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any], decision: Decision | None = None
) -> dict[str, float]:
    """Return the figures of a graph's output (probabilities or predictions) on rows with these true values.

    Args:
        decision: by which the graph answers, if not with the likeliest class.
    """
    if target.task == "regression":
        return regression_metrics(truth, output)
    answers = None
    if decision is not None:
        place = target.classes.index(decision.positive)
        answers = np.where(output[:, place] >= decision.threshold, place, 1 - place)
    return classification_metrics(class_indices(truth, target.classes), output, answers)


def class_indices(truth: Sequence[Any] | np.ndarray[Any, Any], classes: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return each label's place among the classes, shape (rows,). A label that is none of them is a KeyError."""
    places = {name: index for index, name in enumerate(classes)}
    return np.array([places[str(label)] for label in truth])


def output_specs(target: Target) -> tuple[TensorSpec, ...]:
    """Describe the graph's outputs."""
    if target.task == "regression":
        low, high = float(target.values.min()), float(target.values.max())
        return (TensorSpec("prediction", "float32", low=low, high=high),)
    return (
        TensorSpec("prediction", "int64" if target.values.dtype == np.int64 else "string", shape=(None,)),
        TensorSpec("probabilities", "float32", shape=(None, len(target.classes)), low=0.0, high=1.0),
    )
