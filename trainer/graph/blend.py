"""The released graph: one featurizer for each kind of matrix, the members, their weighted mean, and the decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from protocols.manifest import CONTRIBUTIONS
from protocols.recipe import Decision
from trainer.columns import Column
from trainer.errors import NotAdditiveError
from trainer.graph.builder import FLOAT, INT64, STRING, GraphBuilder
from trainer.graph.contributions import LiveContributions, live_contributions
from trainer.graph.encoded import Array, Encoded
from trainer.graph.featurizer import Featurizer, MatrixKind, write_times
from trainer.graph.form import ROWS
from trainer.pieces import Piece
from trainer.search.calibration import LEAST, apply_temperature
from trainer.targets import Target


@dataclass(frozen=True, slots=True)
class Part:
    """A member with what it computes. `answers`: what it gave for each case, shape (rows, outputs)."""

    weight: float
    kind: MatrixKind
    piece: Piece
    answers: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Blend:
    """Everything that the graph computes after the featurizers; `live`: contributions, where it tells them."""

    parts: tuple[Part, ...]
    temperature: float = 1.0
    decision: Decision | None = None
    live: LiveContributions | None = None

    def answers(self, case: int) -> Array:
        """Return what the fitted models together give for a case: probabilities, or predictions (rows,)."""
        mean = sum(part.weight * part.answers[case].astype(np.float64) for part in self.parts)
        total: Array = np.asarray(mean)
        if total.shape[1] == 1:
            return total[:, 0]
        return total if self.temperature == 1.0 else apply_temperature(total, self.temperature)


def write_graph(
    blend: Blend,
    features: Sequence[Column],
    rows: Encoded,
    featurizers: Mapping[MatrixKind, Featurizer],
    target: Target,
) -> bytes:
    """Return the graph from raw named columns to prediction and probabilities; equal blends give equal bytes."""
    names = [column.name for column in features]
    builder = GraphBuilder([(column.name, FLOAT if column.kind == "number" else STRING) for column in features])
    times = write_times(builder, names, rows)
    matrices: dict[MatrixKind, str] = {}
    results = []
    for part in blend.parts:
        if part.kind not in matrices:
            matrices[part.kind] = featurizers[part.kind].write(builder, names, rows, times)
        result = part.piece.write(builder, matrices[part.kind])
        if part.weight != 1.0:
            result = builder.add("Mul", result, builder.constant(np.float32(part.weight)))
        results.append(result)
    mean = results[0] if len(results) == 1 else builder.add("Sum", *results)
    if target.task == "regression":
        builder.output(mean, "prediction", FLOAT, [ROWS, 1])
        _write_live(builder, blend, matrices, None)
        return builder.finish()
    probabilities = _warmed(builder, mean, blend.temperature)
    _write_decision(builder, probabilities, blend.decision, target)
    builder.output(probabilities, "probabilities", FLOAT, [ROWS, len(target.classes)])
    _write_live(builder, blend, matrices, probabilities)
    return builder.finish()


def with_contributions(
    blend: Blend,
    features: Sequence[Column],
    rows: Encoded,
    featurizers: Mapping[MatrixKind, Featurizer],
    target: Target,
) -> Blend:
    """Return the blend with contributions, where it is a single model that is a sum over raw columns."""
    if len(blend.parts) != 1 or CONTRIBUTIONS in {column.name for column in features}:
        return blend
    (part,) = blend.parts
    alarm = None if blend.decision is None else blend.decision.positive
    try:
        live = live_contributions(
            part.piece, featurizers[part.kind], rows, len(features), target.classes, blend.temperature, alarm
        )
    except NotAdditiveError:
        return blend
    return replace(blend, live=live)


def _write_live(
    builder: GraphBuilder, blend: Blend, matrices: Mapping[MatrixKind, str], probabilities: str | None
) -> None:
    if blend.live is not None:
        blend.live.write(builder, matrices[blend.parts[0].kind], probabilities)


def _warmed(builder: GraphBuilder, probabilities: str, temperature: float) -> str:
    if temperature == 1.0:
        return probabilities
    least, one = builder.constant(np.float32(LEAST)), builder.constant(np.float32(1.0))
    logarithms = builder.add("Log", builder.add("Clip", probabilities, least, one))
    return builder.add("Softmax", builder.add("Mul", logarithms, builder.constant(np.float32(1 / temperature))), axis=1)


def _write_decision(builder: GraphBuilder, probabilities: str, decision: Decision | None, target: Target) -> None:
    """The likeliest class, or the positive one from the threshold on."""
    if decision is None:
        place = builder.add("ArgMax", probabilities, axis=1, keepdims=0)
    else:
        positive = target.classes.index(decision.positive)
        own = builder.add("Gather", probabilities, builder.constant(np.int64(positive)), axis=1)
        alarm = builder.add("GreaterOrEqual", own, builder.constant(np.float32(decision.threshold)))
        yes, no = builder.constant(np.int64(positive)), builder.constant(np.int64(1 - positive))
        place = builder.add("Where", alarm, yes, no)
    labels: Any = np.unique(target.values)
    text = labels.dtype.kind not in "iu"
    known = builder.constant(np.array([str(label) for label in labels], dtype=object) if text else labels, None)
    builder.output(builder.add("Gather", known, place, axis=0), "prediction", STRING if text else INT64, [ROWS])
