"""Imports of models that take windows, images or state: the graph adapted, proven as devices run it, and assembled."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from protocols.errors import ManifestError
from protocols.feeding import FIGURES, Feeding, Image, Window, check_feeding
from protocols.manifest import EXTENDED_VERSION, Lineage, Manifest, Task, decode_manifest, encode_manifest
from trainer.assembly import Subject, compose, elsewhere
from trainer.candidate import write_candidate
from trainer.challenge import measured
from trainer.errors import ImportRefusedError
from trainer.fed.frameworks import Network, read_network
from trainer.fed.golden import golden_bytes, make_cases
from trainer.fed.graphs import build
from trainer.fed.inputs import FedInputs, inputs_of, read_inputs
from trainer.fed.outputs import Settled, followed, read_outputs
from trainer.fed.runs import BATCH, FedCase, FedSession
from trainer.fed.samples import MOST_WINDOWS, FedSample, read_images, read_rows
from trainer.foreign.kinds import Found
from trainer.foreign.trial import try_graph
from trainer.graphs import followed_output, open_graph, run_graph
from trainer.guardrails.rail import Guardrail
from trainer.guardrails.values import unanswered_rail
from trainer.import_request import ImportRequest
from trainer.lineage import imported_lineage
from trainer.parity import certify, check_certificate, tolerance_for
from trainer.report import Report, encode_report
from trainer.targets import Target

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Fed:
    """A graph in the form of a release, with what it was proven on."""

    inputs: FedInputs
    settled: Settled
    feeding: Feeding | None
    data: bytes
    session: FedSession
    sample: FedSample
    cases: tuple[FedCase, ...]


def import_fed(
    found: Found,
    request: ImportRequest,
    out: Path,
    progress: Callable[[str, float], None],
    clock: Callable[[], float] = time.time,
    *,
    force: bool = False,
) -> Manifest:
    """As `trainer.imports.import_file`, which calls it, for a graph that takes more than one row."""
    with ExitStack() as stack:
        return _release(request, read_network(found, request, stack), out, progress, clock, force=force)


def _release(
    request: ImportRequest,
    network: Network,
    out: Path,
    progress: Callable[[str, float], None],
    clock: Callable[[], float],
    *,
    force: bool,
) -> Manifest:
    begun = time.monotonic()
    fed, maker = _adopt(request, network)
    progress("proving the graph", 0.4)
    output = followed_output(run_graph(fed.session, fed.cases[0].feed(fed.inputs.names)))
    target = _target(request, fed, output)
    certificate = certify(
        lambda case: followed(maker.run(None, case.feed(fed.inputs.names)), fed.settled),
        fed.session,
        fed.inputs.names,
        fed.cases,
        tolerance_for(target.task, target.values),
        fed.settled.classes,
    )
    check_certificate(certificate, imported=True)
    progress("measuring", 0.7)
    subject = Subject(
        request.model,
        fed.data,
        fed.sample.features,
        target,
        np.arange(len(output)),
        (),
        certificate,
        _lineage(request, fed),
        labelled=False,
        licence=request.licence,
        author=request.author,
        latency_limit_ms=request.latency_limit_ms,
        cpu_features=request.cpu_features,
    )
    manifest, files = compose(subject, output, golden_bytes(fed.session, fed.inputs, fed.sample, fed.feeding), clock())
    manifest = msgspec.structs.replace(
        manifest,
        feeding=fed.feeding,
        state=fed.inputs.state,
        v=EXTENDED_VERSION,
        elsewhere=elsewhere(network.model, certificate.tolerance),
        metrics=_metrics(manifest, fed.sample, output),
    )
    decode_manifest(encode_manifest(manifest))  # what a device would refuse is refused here
    rails = [_rail(fed), *fed.sample.rails, *network.rails, unanswered_rail(output)]
    report = Report.of(rails, (), (), manifest, round(time.monotonic() - begun, 2))
    write_candidate(out, manifest, files, encode_report(report), force=force)
    progress("done", 1.0)
    return manifest


def _adopt(request: ImportRequest, network: Network) -> tuple[Fed, FedSession]:
    """Return the graph in the form of a release, and the maker's session."""
    model = network.model
    inputs, feeding, sample = _fed_image(request, model) if request.feeding.image else _fed_rows(request, model)
    window = None if request.feeding.image else (request.feeding.window or 1, len(sample.features))
    first = [array[:1] for array in sample.rows]
    try_graph(model.SerializeToString(), _feed(model, inputs, [inputs.as_made(array) for array in first]))
    maker = network.session(inputs)
    rows = FedCase("held-out", sample.rows)
    outputs = maker.run(None, rows.feed(inputs.names))
    _check_answers(inputs, outputs)
    named = request.feeding.classes or sample.labels
    settled = read_outputs(model.graph, [pair.output for pair in inputs.state], outputs, named)
    data, batch = _built(model, inputs, settled, window, sample)
    if feeding is not None:
        feeding = msgspec.structs.replace(feeding, batch=None if batch > 1 else 1)
    session = FedSession(open_graph(data), inputs.names, inputs.state, batch)
    return Fed(inputs, settled, feeding, data, session, sample, make_cases(inputs, sample, feeding)), maker


def _fed_image(request: ImportRequest, model: onnx.ModelProto) -> tuple[FedInputs, Feeding | None, FedSample]:
    asked = request.feeding.image
    assert asked is not None  # noqa: S101 - the caller has looked
    inputs = read_inputs(model.graph, request.feeding, ())
    image = Image(
        inputs.tensor,
        asked.height,
        asked.width,
        asked.colours,
        "NHWC" if inputs.layout == "NHWC" else "NCHW",
        asked.scale,
        asked.mean,
        asked.deviation,
        asked.resize,
    )
    _check(image, inputs, FIGURES)
    return inputs, image, read_images(request, image)


def _fed_rows(request: ImportRequest, model: onnx.ModelProto) -> tuple[FedInputs, Feeding | None, FedSample]:
    sample, matrix = read_rows(request)
    columns = [column.name for column in sample.features]
    inputs = read_inputs(model.graph, request.feeding, columns)
    rows = request.feeding.window or 1
    feeding = None if inputs.columns else Window(inputs.tensor, rows)
    _check(feeding, inputs, columns)
    return inputs, feeding, _shaped(sample, matrix, inputs, rows)


def _check(feeding: Feeding | None, inputs: FedInputs, columns: Sequence[str]) -> None:
    """Refuse early what the manifest could not say."""
    try:
        check_feeding(feeding, inputs.state, [(name, "float32") for name in columns])
    except ManifestError as error:
        raise ImportRefusedError(str(error).removeprefix("release.json: ")) from error


def _check_answers(inputs: FedInputs, outputs: Sequence[Array]) -> None:
    """Refuse a sample on which the model answers with what is no number: nothing could be proven after it."""
    found = followed_output(outputs)
    if found.dtype.kind != "f":
        return  # `read_outputs` says what is wrong with it
    answered = np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    if inputs.state and not answered.all():
        row = int(np.flatnonzero(~answered)[0]) + 1
        raise ImportRefusedError(
            f"the model answers row {row} of the sample with NaN, and what follows builds on it: take rows with "
            "missing values out of the sample"
        )
    if not answered.any():
        raise ImportRefusedError("the model answers the whole sample with NaN; are these the rows that it takes?")


def _shaped(sample: FedSample, matrix: Array, inputs: FedInputs, rows: int) -> FedSample:
    """Return the sample with what the graph takes, and the true values of the newest row of each window."""
    matrix = matrix[: MOST_WINDOWS + rows - 1]
    if inputs.columns:
        arrays = tuple(matrix[:, place : place + 1] for place in range(matrix.shape[1]))
    else:
        views = np.lib.stride_tricks.sliding_window_view(matrix, rows, axis=0)
        arrays = (np.ascontiguousarray(views.transpose(0, 2, 1)),)
    truth = sample.truth.iloc[rows - 1 : len(matrix)].reset_index(drop=True) if sample.truth is not None else None
    return dataclasses.replace(sample, rows=arrays, truth=truth)


def _feed(model: onnx.ModelProto, inputs: FedInputs, arrays: list[Array]) -> dict[str, Array]:
    """Return one row and the first state in the order of the graph's inputs."""
    known = dict(zip(inputs.names, arrays, strict=True))
    known |= {pair.input: np.zeros(pair.shape, dtype=np.float32) for pair in inputs.state}
    return {entry.name: known[entry.name] for entry in inputs_of(model.graph)}


def _built(
    model: onnx.ModelProto, inputs: FedInputs, settled: Settled, window: tuple[int, int] | None, sample: FedSample
) -> tuple[bytes, int]:
    """Return the release's graph, and how many rows it takes at once: many, if that gives what one by one gives."""
    single = build(model, inputs, settled, window, batched=False)
    if inputs.state or len(sample.rows[0]) < 2:
        return single, 1
    many = build(model, inputs, settled, window, batched=True)
    rows = [array[:BATCH] for array in sample.rows]
    feed = dict(zip(inputs.names, rows, strict=True))
    try:
        try_graph(many, feed)
        together = followed_output(FedSession(open_graph(many), inputs.names, (), BATCH).run(None, feed))
    except (ImportRefusedError, RuntimeError, ValueError):
        return single, 1
    alone = followed_output(FedSession(open_graph(single), inputs.names, (), 1).run(None, feed))
    same = together.shape == alone.shape and np.allclose(together, alone, rtol=1e-3, atol=1e-4, equal_nan=True)
    return (many, BATCH) if same else (single, 1)


def _target(request: ImportRequest, fed: Fed, output: Array) -> Target:
    """What the model predicts; its own answers stand in for the true values, which a sample need not have."""
    values = output[np.isfinite(output)]
    if fed.settled.classes:
        names: Array = np.array(fed.settled.classes, dtype=object)
        integers = fed.settled.form == "labelled" and _labels_are_integers(fed)
        values = output.argmax(axis=1) if integers else names[output.argmax(axis=1)]
    task: Task = "classification" if fed.settled.classes else "regression"
    return Target(request.target or "", task, values, np.arange(len(values)), fed.settled.classes, 0, 0, {})


def _labels_are_integers(fed: Fed) -> bool:
    graph = onnx.ModelProto.FromString(fed.data).graph
    kind: int = graph.output[0].type.tensor_type.elem_type
    return kind == int(onnx.TensorProto.INT64)


def _metrics(manifest: Manifest, sample: FedSample, output: Array) -> dict[str, float]:
    """Return figures on the rows whose true value is known."""
    if sample.truth is None:
        return {}
    return measured(manifest, sample.truth, output)


def _lineage(request: ImportRequest, fed: Fed) -> Lineage:
    sample = fed.sample
    return imported_lineage(
        request.file,
        request.target or "",
        tuple(column.name for column in sample.features),
        data_name=sample.name,
        data_sha256=sample.sha256,
        rows=sample.count,
    )


def _rail(fed: Fed) -> Guardrail:
    """Say where a device will serve one row at a time although others of this kind are batched."""
    if fed.inputs.state or fed.feeding is None or fed.feeding.batch is None:
        return Guardrail("rows at once", "passed")
    return Guardrail(
        "rows at once",
        "alerted",
        ("the graph gives other answers for several rows than for each alone, or takes one only",),
        "a device runs it row by row, which is slower under load",
        "export it with a free first dimension",
    )
