"""Models of other makers in: a file and a sample of its data to a proven release candidate."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pandas as pd

from protocols.manifest import Lineage, Manifest
from protocols.names import check_name
from trainer.assembly import Subject, assemble
from trainer.candidate import check_output, write_candidate
from trainer.cases import Case, make_cases
from trainer.challenge import measured
from trainer.columns import Column, type_column
from trainer.errors import ImportRefusedError, MissingColumnError
from trainer.fed_imports import import_fed
from trainer.foreign.graphs import ForeignGraph, adopt
from trainer.foreign.onnx_files import load_graph
from trainer.foreign.pipelines import answer, export_foreign, load_pipeline, model_columns
from trainer.foreign.trial import try_graph
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.guardrails.rail import Guardrail
from trainer.guardrails.values import unanswered_rail
from trainer.import_request import MIN_SAMPLE_ROWS, ImportRequest, check_numbers, check_sample, model_format
from trainer.lineage import imported_lineage
from trainer.parity import certify, check_certificate, tolerance_for
from trainer.report import Report, encode_report
from trainer.tables import file_digest, read_table
from trainer.targets import Target
from trainer.variants import add_variants, check_variants


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model in the form of a release, and the original to compare it with."""

    graph: ForeignGraph
    features: tuple[Column, ...]
    original: Callable[[Case], np.ndarray[Any, Any]]


def import_file(
    request: ImportRequest,
    out: Path,
    progress: Callable[[str, float], None],
    clock: Callable[[], float] = time.time,
    *,
    force: bool = False,
) -> Manifest:
    """Bring a model into the form of a release, prove it on the sample, and write the candidate folder.

    With `force`, an earlier candidate there is replaced.

    Raises:
        ImportRefusedError: not a model that we take, or one that does not match the sample.
        ParityError: the release's graph does not compute what the original does.
        TableError, OutputRefusedError, NameRefusedError: sample, folder or name cannot be used.
    """
    begun = time.monotonic()
    check_name("model", request.model)
    check_output(out, force=force)
    check_variants(request)
    check_sample(request)
    if request.fed:
        return import_fed(request, out, progress, clock, force=force)
    progress("reading the sample and the model", 0.0)
    table = _sample(request)
    read = _read_onnx if model_format(request.file) == "onnx" else _read_pipeline
    foreign = read(request, table)
    progress("proving the graph", 0.4)
    everything = np.arange(len(table))
    cases, rail = _answerable(make_cases(foreign.features, everything), foreign.original)
    target = _target(request, foreign, cases[0])
    certificate = certify(
        foreign.original,
        open_graph(foreign.graph.data),
        foreign.graph.columns,
        cases,
        tolerance_for(target.task, target.values),
        foreign.graph.classes,
    )
    check_certificate(certificate, imported=True)
    progress("measuring", 0.7)
    subject = Subject(
        request.model,
        foreign.graph.data,
        foreign.features,
        target,
        everything,
        cases,
        certificate,
        _lineage(request, foreign, len(table)),
        labelled=False,
        licence=request.licence,
        author=request.author,
        latency_limit_ms=request.latency_limit_ms,
        cpu_features=request.cpu_features,
    )
    manifest, files = assemble(subject, clock())
    manifest, files = add_variants(request, manifest, files, cases)
    output = followed_output(run_graph(open_graph(foreign.graph.data), to_feed(foreign.features)))
    if request.target is not None:
        metrics = measured(manifest, table[request.target], output)
        manifest = msgspec.structs.replace(manifest, metrics=metrics)
    report = Report.of([rail, unanswered_rail(output)], (), (), manifest, round(time.monotonic() - begun, 2))
    write_candidate(out, manifest, files, encode_report(report), force=force)
    progress("done", 1.0)
    return manifest


def _sample(request: ImportRequest) -> pd.DataFrame:
    model_format(request.file)
    table = request.sample if isinstance(request.sample, pd.DataFrame) else read_table(request.sample)
    if request.target is not None and request.target not in table.columns:
        raise MissingColumnError("target", request.target, table.columns)
    if len(table) < MIN_SAMPLE_ROWS:
        raise ImportRefusedError(f"the sample has {len(table)} rows; at least {MIN_SAMPLE_ROWS} are needed")
    return table


def _columns(request: ImportRequest, table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name != request.target]


def _read_onnx(request: ImportRequest, table: pd.DataFrame) -> Foreign:
    model = load_graph(request.file)
    graph = adopt(model, _columns(request, table))
    features = tuple(_typed(name, kind, table[name]) for name, kind in zip(graph.columns, graph.kinds, strict=True))
    try_graph(graph.data, {column.name: column.values.reshape(-1, 1) for column in features})
    plain = ort.SessionOptions()
    # The graph as its maker wrote it, without the optimizations that a device's session makes.
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.SerializeToString(), plain, providers=["CPUExecutionProvider"])
    except RuntimeError as error:
        raise ImportRefusedError(f"ONNX Runtime cannot load {request.file.name}: {_first_line(error)}") from error
    names = [entry.name for entry in session.get_inputs()]

    def original(case: Case) -> np.ndarray[Any, Any]:
        matrix = np.column_stack(case.columns) if names != list(graph.columns) else None
        feed = case.feed(names) if matrix is None else {names[0]: matrix.astype(np.float32)}
        outputs = run_graph(session, feed)
        if len(outputs) > 1 and isinstance(outputs[1], list):  # a ZipMap's dictionaries
            return np.array([list(row.values()) for row in outputs[1]])
        return followed_output(outputs)

    return Foreign(graph, features, original)


def _read_pipeline(request: ImportRequest, table: pd.DataFrame) -> Foreign:
    model = load_pipeline(request.file, trusted=request.trusted)
    columns = model_columns(model, _columns(request, table))
    typed = [type_column(name, table[name]) for name in columns]
    for column in typed:
        check_numbers(column, table[column.name])
    graph = export_foreign(model, columns, [column.kind for column in typed])
    by_name = {column.name: column for column in typed}
    places = [columns.index(name) for name in graph.columns]

    def original(case: Case) -> np.ndarray[Any, Any]:
        ordered = dict(zip(places, case.columns, strict=True))
        return answer(model, columns, Case(case.name, tuple(ordered[index] for index in range(len(columns)))))

    return Foreign(graph, tuple(by_name[name] for name in graph.columns), original)


def _typed(name: str, kind: str, series: pd.Series) -> Column:
    column = type_column(name, series)
    if kind == "number" and column.kind != "number":
        raise ImportRefusedError(f"column {name!r} of the sample is text, and the model takes a number there")
    if kind == "category" and column.kind != "category":
        texts = ["" if gone else str(value) for value, gone in zip(series, series.isna(), strict=True)]
        return Column(name, "category", np.array(texts, dtype=object))
    check_numbers(column, series)
    return column


def _answerable(
    cases: Sequence[Case], original: Callable[[Case], np.ndarray[Any, Any]]
) -> tuple[tuple[Case, ...], Guardrail]:
    """Leave out the cases that the original itself refuses, and say so; it must answer real rows."""
    kept, refused = [], []
    for case in cases:
        try:
            original(case)
        except ValueError as error:
            if case.name == "held-out":
                raise ImportRefusedError(f"the model does not take the sample: {_first_line(error)}") from error
            refused.append(f"the original refuses rows of the case {case.name!r}: {_first_line(error)}")
            continue
        kept.append(case)
    if not refused:
        return tuple(kept), Guardrail("missing and unseen values", "passed")
    done = "proved the graph without them; what it answers to such rows is its own affair"
    return tuple(kept), Guardrail(
        "missing and unseen values", "alerted", tuple(refused), done, "put an imputer or encoder into the model"
    )


def _target(request: ImportRequest, foreign: Foreign, real: Case) -> Target:
    """What the model predicts; the values stand in for the true ones, which a sample need not have."""
    outputs = run_graph(open_graph(foreign.graph.data), real.feed(foreign.graph.columns))
    values = outputs[0].reshape(-1)
    if foreign.graph.task == "classification" and outputs[1].shape[1:] != (len(foreign.graph.classes),):
        raise ImportRefusedError(
            f"the model names {len(foreign.graph.classes)} classes and gives {outputs[1].shape[1:]} probabilities a row"
        )
    if foreign.graph.task == "regression":
        values = values[np.isfinite(values)]
        if not len(values):
            raise ImportRefusedError("the model answers the whole sample with NaN; are these the rows that it takes?")
    rows = np.arange(len(values))
    return Target(request.target or "", foreign.graph.task, values, rows, foreign.graph.classes, 0, 0, {})


def _lineage(request: ImportRequest, foreign: Foreign, rows: int) -> Lineage:
    path = None if isinstance(request.sample, pd.DataFrame) else Path(request.sample)
    return imported_lineage(
        request.file,
        request.target or "",
        foreign.graph.columns,
        data_name=path.name if path else "table",
        data_sha256=file_digest(path) if path else "",
        rows=rows,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
