"""Models of other makers in: a file and a sample of its data to a proven release candidate."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from protocols.manifest import Lineage, Manifest
from protocols.names import check_name
from trainer.assembly import Subject, assemble
from trainer.candidate import check_output, write_candidate
from trainer.cases import Case, make_cases
from trainer.challenge import measured
from trainer.errors import ImportRefusedError, MissingColumnError
from trainer.fed.imports import import_fed
from trainer.foreign.float_pitfalls import float_rail
from trainer.foreign.kinds import recognise
from trainer.foreign.reading import Foreign, read_foreign
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.guardrails.rail import Guardrail
from trainer.guardrails.values import unanswered_rail
from trainer.import_request import MIN_SAMPLE_ROWS, ImportRequest, check_sample
from trainer.lineage import imported_lineage
from trainer.parity import certify, check_certificate, tolerance_for
from trainer.precision.variants import VariantsAsked, add_variants, check_variants
from trainer.report import Report, encode_report
from trainer.tables import file_digest, read_table
from trainer.targets import Target


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
    found = recognise(request.file)
    if request.fed:
        return import_fed(found, request, out, progress, clock, force=force)
    progress("reading the sample and the model", 0.0)
    table = _sample(request)
    with ExitStack() as stack:
        foreign = read_foreign(found, request, table, stack)
        return _release(request, out, progress, clock, force=force, table=table, foreign=foreign, begun=begun)


def _release(
    request: ImportRequest,
    out: Path,
    progress: Callable[[str, float], None],
    clock: Callable[[], float],
    *,
    force: bool,
    table: pd.DataFrame,
    foreign: Foreign,
    begun: float,
) -> Manifest:
    """Prove a model that was read, and write its candidate."""
    progress("proving the graph", 0.4)
    everything = np.arange(len(table))
    cases, rail = _answerable(make_cases(foreign.features, everything), foreign.original)
    target = _target(request, foreign, cases[0])
    tolerance = tolerance_for(target.task, target.values)
    floats = float_rail(table, foreign.features, foreign.exact, tolerance)
    certificate = certify(
        foreign.original,
        open_graph(foreign.graph.data),
        foreign.graph.columns,
        cases,
        tolerance,
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
    asked = VariantsAsked(request.file.name, request.variants, request.quantise, request.variant_tolerance)
    manifest, files = add_variants(asked, manifest, files, cases)
    output = followed_output(run_graph(open_graph(foreign.graph.data), to_feed(foreign.features)))
    if request.target is not None:
        metrics = measured(manifest, table[request.target], output)
        manifest = msgspec.structs.replace(manifest, metrics=metrics)
    report = Report.of(
        [rail, floats, *foreign.rails, unanswered_rail(output)], (), (), manifest, round(time.monotonic() - begun, 2)
    )
    write_candidate(out, manifest, files, encode_report(report), force=force)
    progress("done", 1.0)
    return manifest


def _sample(request: ImportRequest) -> pd.DataFrame:
    table = request.sample if isinstance(request.sample, pd.DataFrame) else read_table(request.sample)
    if request.target is not None and request.target not in table.columns:
        raise MissingColumnError("target", request.target, table.columns)
    if len(table) < MIN_SAMPLE_ROWS:
        raise ImportRefusedError(f"the sample has {len(table)} rows; at least {MIN_SAMPLE_ROWS} are needed")
    return table


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
