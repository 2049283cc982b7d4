"""One trial: a model with given settings on every fold; run in a process of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer.families import FAMILIES, Parameters, Rows, Settled, Shape
from trainer.graph.builder import FLOAT, GraphBuilder
from trainer.graph.encoded import Array
from trainer.graphs import open_graph
from trainer.metrics import Metric, metric_named
from trainer.search.material import Material, Matrices, load_material

#: Single rows that a trial's graph answers to be measured, at most, and the time for it.
TIMED_RUNS, TIMED_S = 100, 0.02
#: Seconds that a fit may run where the clock decides and nothing else has come out, though less is left.
LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """What a trial found.

    Attributes:
        losses: of each fold.
        loss: over the rows of all folds together; None where it was pruned.
        seen: what it predicts for rows that it had not learned from, fold after fold, float32, shape (rows, outputs).
        held_out: the mean of the folds' predictions for the rows held out.
        fit_s: seconds of one fit, in the mean.
        size_bytes, latency_ms: of the graph of one fold's model, on this machine, one thread.
    """

    family: str
    parameters: Parameters
    settled: Settled
    losses: tuple[float, ...]
    loss: float | None
    seen: Array
    held_out: Array
    fit_s: float
    size_bytes: int = 0
    latency_ms: float = 0.0


def open_bench(folder: Path) -> "Bench":
    """Return the bench of a table that `save_material` wrote."""
    return Bench(load_material(folder))


class Bench:
    """What a process keeps between trials; the setup of the workers."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.matrices = Matrices(material)


def try_out(
    bench: Bench, family_name: str, parameters: Parameters, metric_name: str, bar: float, allowed_s: float = np.inf
) -> Tried:
    """Fit on each fold.

    Args:
        bar: a first fold with more loss than this ends the trial.
        allowed_s: so does a first fold after which all of them would take longer than this.
    """
    material, family = bench.material, FAMILIES[family_name]
    metric = metric_named(metric_name)
    settled: Settled = {}
    fitted: list[Any] = []
    folds: list[_Fold] = []
    spent = 0.0

    def together() -> tuple[list[Any], Settled]:
        models, found = family.settle(fitted, settled)
        classes = material.shape.classes
        return [fold.widen(model, classes) for fold, model in zip(folds, models, strict=True)], found

    for index in range(len(material.folds)):
        learn, validate, _ = bench.matrices.fold(index, family.matrix)
        fold = _Fold.of(learn, validate, material.shape)
        if not index:
            settled = family.prepare(parameters, fold.learn, fold.shape, material.seed)
        begun = time.perf_counter()
        fitted.append(family.fit(parameters, settled, fold.learn, fold.validate, fold.shape, material.seed))
        folds.append(fold)
        spent += time.perf_counter() - begun
        if index or len(material.folds) == 1:
            continue
        if not np.isfinite(bar) and spent * len(material.folds) <= allowed_s:
            continue
        loss = metric.loss(validate.target, together()[0][0].predict(validate.matrix))
        if not loss <= bar or spent * len(material.folds) > allowed_s:
            empty = np.empty((0, material.shape.outputs), np.float32)
            return Tried(family_name, parameters, settled, (loss,), None, empty, empty, spent)
    models, settled = together()
    return _measured(bench, family_name, parameters, settled, models, metric, spent / len(models))


@dataclass(frozen=True, slots=True)
class _Narrow:
    """A model of a fold that lacks some classes, as groups or the newest rows may: to these it gives nothing."""

    model: Any
    known: Array
    classes: int

    def predict(self, matrix: Array) -> Array:
        widened = np.zeros((len(matrix), self.classes))
        widened[:, self.known] = self.model.predict(matrix)
        return widened

    def piece(self) -> Any:
        return self.model.piece()


@dataclass(frozen=True, slots=True)
class _Fold:
    """What a fold's model learns from, its classes counted anew where some are missing."""

    learn: Rows
    validate: Rows | None
    shape: Shape
    known: Array

    @classmethod
    def of(cls, learn: Rows, validate: Rows, shape: Shape) -> "_Fold":
        known = np.unique(learn.target) if shape.classes else np.empty(0)
        if len(known) == shape.classes:
            return cls(learn, validate, shape, known)
        seen = np.isin(validate.target, known)
        narrow = Rows(validate.matrix[seen], np.searchsorted(known, validate.target[seen]))
        counted = Rows(learn.matrix, np.searchsorted(known, learn.target))
        return cls(counted, narrow if seen.any() else None, replace(shape, classes=len(known)), known)

    def widen(self, model: Any, classes: int) -> Any:
        return model if self.shape.classes == classes else _Narrow(model, self.known, classes)


def _measured(
    bench: Bench,
    family_name: str,
    parameters: Parameters,
    settled: Settled,
    models: Sequence[Any],
    metric: Metric,
    fit_s: float,
) -> Tried:
    kind = FAMILIES[family_name].matrix
    seen, held, truths, losses = [], [], [], []
    for index, model in enumerate(models):
        _, validate, held_out = bench.matrices.fold(index, kind)
        seen.append(model.predict(validate.matrix).astype(np.float32))
        held.append(model.predict(held_out))
        truths.append(validate.target)
        losses.append(metric.loss(validate.target, seen[-1]))
    together = np.concatenate(seen)
    loss = metric.loss(np.concatenate(truths), together)
    if not np.isfinite(loss) or not np.isfinite(together).all():
        raise ValueError(f"{family_name} answers with infinite or no numbers")
    size, latency = _graph_figures(bench, kind, models[0])
    return Tried(
        family_name,
        parameters,
        settled,
        tuple(losses),
        loss,
        together,
        np.mean(held, axis=0).astype(np.float32),
        fit_s,
        size,
        latency,
    )


def _graph_figures(bench: Bench, kind: str, model: Any) -> tuple[int, float]:
    """Size and median latency of a graph from the first fold's matrix, whose width is its own, to prediction."""
    _, validate, _ = bench.matrices.fold(0, kind)  # type: ignore[arg-type]
    width = validate.matrix.shape[1]
    builder = GraphBuilder([("matrix", FLOAT)], width=width)
    builder.output(model.piece().write(builder, "matrix"), "result", FLOAT, ["rows", "outputs"])
    data = builder.finish()
    session = open_graph(data)
    taken = []
    end = time.perf_counter() + TIMED_S
    for run in range(TIMED_RUNS):
        row = validate.matrix[run % len(validate) : run % len(validate) + 1]
        begun = time.perf_counter()
        session.run(None, {"matrix": row})
        taken.append(time.perf_counter() - begun)
        if begun > end:
            break
    return len(data), float(np.median(taken)) * 1000.0
