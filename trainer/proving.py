"""From contenders to one proven graph: fit, export, compare; the next best where an export fails its proof."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.manifest import ParityCertificate
from trainer.cases import Case
from trainer.columns import Kind
from trainer.errors import ExportError, ParityError
from trainer.featurizer import feature_names, to_frame
from trainer.fitting import fit_pipeline, predict
from trainer.graphs import open_graph
from trainer.guardrails.check import CheckedTable
from trainer.parity import certify, check_certificate, tolerance_for
from trainer.search import Trial

#: Turns a fitted pipeline into a graph, given the names and kinds of the raw columns.
Exporter = Callable[[Any, Sequence[str], Sequence[Kind]], bytes]


@dataclass(frozen=True, slots=True)
class Proven:
    """A fitted model whose export was proven, and why better ones were refused."""

    trial: Trial
    pipeline: Any
    graph: bytes
    certificate: ParityCertificate
    refused: tuple[str, ...]


def prove_best(
    checked: CheckedTable,
    learn: np.ndarray[Any, Any],
    contenders: Sequence[Trial],
    seed: int,
    cases: Sequence[Case],
    exporter: Exporter,
) -> Proven:
    """Fit each contender in turn on the rows `learn` and return the first whose graph passes every case.

    Raises:
        ParityError: none passes.
    """
    refused: list[str] = []
    frame, labels = to_frame(checked.features, learn), checked.target.values[learn]
    for trial in contenders:
        pipeline = fit_pipeline(frame, labels, checked.target.task, trial.parameters, seed)
        try:
            graph = exporter(pipeline, feature_names(checked.features), [column.kind for column in checked.features])
            certificate = _certify(checked, labels, pipeline, graph, cases)
        except (ExportError, ParityError) as error:
            refused.append(f"{trial.parameters['family']}: {error}")
            continue
        return Proven(trial, pipeline, graph, certificate, tuple(refused))
    raise ParityError(f"no model passed the proof of its export: {'; '.join(refused)}")


def _certify(
    checked: CheckedTable, labels: np.ndarray[Any, Any], pipeline: Any, graph: bytes, cases: Sequence[Case]
) -> ParityCertificate:
    certificate = certify(
        lambda case: predict(pipeline, case.frame()),
        open_graph(graph),
        feature_names(checked.features),
        cases,
        tolerance_for(checked.target.task, labels),
        checked.target.classes,
    )
    check_certificate(certificate)
    return certificate
