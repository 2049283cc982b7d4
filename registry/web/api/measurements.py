"""Measurements: graphs that are timed on enrolled devices, and never served."""

import shutil
import tempfile
from pathlib import Path

from flask import Blueprint, request, url_for

from protocols.manifest import Tolerance
from protocols.measuring import LEAST_SECONDS, MEASURED_FILES, MOST_SECONDS
from protocols.plain_graphs import PLAIN_TOLERANCE
from registry.errors import RequestRefusedError, TooLargeError
from registry.measuring import (
    LEAST_WAIT_S,
    MOST_WAIT_S,
    USUAL_SECONDS,
    USUAL_WAIT_S,
    ask,
    cancel,
    complete,
)
from registry.web.context import caller, context
from registry.web.measurement_documents import MeasurementDocument, measurement_document
from registry.web.operations import operation, query_int

measurements = Blueprint("measurements", __name__, url_prefix="/api/v1/measurements")


@measurements.get("")
@operation(
    "List the newest measurements",
    "measurements",
    reply=list[MeasurementDocument],
    query={"limit": (int, "how many, 1 to 1000; 100 by default")},
)
def list_measurements() -> list[MeasurementDocument]:
    """Newest first."""
    parts = context()
    found = parts.catalogue.measurements.list(query_int("limit", 100, 1, 1000))
    return [measurement_document(parts.catalogue, one, parts.clock()) for one in found]


@measurements.get("/<int:measurement>")
@operation("Describe one measurement", "measurements", reply=MeasurementDocument, errors=(404,))
def get_measurement(measurement: int) -> MeasurementDocument:
    """How far each device is, and its figures where it has measured."""
    parts = context()
    return measurement_document(parts.catalogue, parts.catalogue.measurements.get(measurement), parts.clock())


@measurements.post("")
@operation(
    "Have a graph measured by devices",
    "measurements",
    body_media=("multipart/form-data",),
    query={
        "devices": (str, "a device, '*', site=SITE, profile=PROFILE, or site=S,profile=P"),
        "wait_s": (float, f"how long to wait for answers, in seconds; {USUAL_WAIT_S:g} by default"),
        "seconds": (float, f"longest that a device measures; {USUAL_SECONDS:g} by default"),
        "absolute": (float, f"how far outputs may lie from the golden ones; {PLAIN_TOLERANCE.absolute:g} by default"),
        "relative": (float, f"the same as a share of the output; {PLAIN_TOLERANCE.relative:g} by default"),
    },
    reply=MeasurementDocument,
    status=202,
    errors=(404, 413, 422),
)
def post_measurement() -> tuple[MeasurementDocument, dict[str, str]]:
    """Parts: model.onnx, golden.npz (input_0 ..., output_0 ... in the order of the graph's), and release.json where the
    graph takes windows, images or state.

    The director signs the job for each device; one whose agent.toml says `measure = true` fetches the graph, times it
    in a process of its own beside what it serves, and deletes it.
    """
    parts = context()
    devices = request.args.get("devices", "")
    if not devices:
        raise RequestRefusedError("devices", "is missing; add ?devices=press-1 or ?devices=profile=x86 to the address")
    wait_s = _number("wait_s", USUAL_WAIT_S, LEAST_WAIT_S, MOST_WAIT_S)
    seconds = _number("seconds", USUAL_SECONDS, LEAST_SECONDS, MOST_SECONDS)
    tolerance = Tolerance(
        _number("absolute", PLAIN_TOLERANCE.absolute, 0.0, 1e9), _number("relative", PLAIN_TOLERANCE.relative, 0.0, 1.0)
    )
    request.max_content_length = parts.settings.measure_limit_bytes
    # On the same file system as the place that it is moved to.
    folder = Path(tempfile.mkdtemp(prefix="measure-", dir=parts.home / "run"))
    try:
        _receive(folder, parts.settings.measure_limit_bytes)
        complete(folder, tolerance)
        asked = ask(
            parts.home,
            parts.catalogue,
            folder,
            devices,
            parts.clock,
            asked_by=caller(),
            wait_s=wait_s,
            seconds=seconds,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    document = measurement_document(parts.catalogue, asked, parts.clock())
    return document, {"Location": url_for("measurements.get_measurement", measurement=asked.id)}


@measurements.delete("/<int:measurement>")
@operation("Cancel a measurement", "measurements", reply=MeasurementDocument, errors=(404,))
def delete_measurement(measurement: int) -> MeasurementDocument:
    """What devices have not answered is not waited for any more; what one measures now is not counted."""
    parts = context()
    return measurement_document(parts.catalogue, cancel(parts.catalogue, measurement, caller()), parts.clock())


def _receive(folder: Path, limit_bytes: int) -> None:
    for part in request.files.values():
        name = part.filename or part.name or ""
        if name not in MEASURED_FILES:
            raise RequestRefusedError(
                name or "part", f"is not a file of a measurement; send {', '.join(MEASURED_FILES)}"
            )
        part.save(folder / name)
    if sum(path.stat().st_size for path in folder.iterdir()) > limit_bytes:
        raise TooLargeError("the graph with its golden vectors", limit_bytes)


def _number(name: str, default: float, low: float, high: float) -> float:
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise RequestRefusedError(name, f"{text[:40]!r} is not a number from {low:g} to {high:g}")
    return value
