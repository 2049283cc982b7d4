"""Measuring: a graph is signed for devices to time, and never to serve; what they answer, and what comes too late.

The files lie under HOME/measurements/<number> until every device has an outcome.
"""

import logging
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from protocols.errors import ManifestError, OnnxRefusedError
from protocols.manifest import FileInfo, Manifest, Tolerance, decode_manifest, encode_manifest
from protocols.measuring import MEASURED_FILES, MOST_ORDERS, DeviceFigures, Measured, MeasuringOrder, Outcome
from protocols.onnx_file import check_onnx, read_onnx
from protocols.plain_graphs import PLAIN_TOLERANCE, measured_manifest, plain_manifest
from registry.assigning import check_admitted, select
from registry.blobs import file_info
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.catalogue.measurements import Measurement
from registry.errors import MeasurementRefusedError
from registry.presence import presence
from registry.signing.director import DirectorRepository
from registry.signing.metadata import Clock

log = logging.getLogger(__name__)

FOLDER = "measurements"
#: Devices of one measurement, and answers that may be waited for in all.
MOST_DEVICES, MOST_WAITING = 8, 256
#: How long anybody waits for an answer, in seconds.
LEAST_WAIT_S, USUAL_WAIT_S, MOST_WAIT_S = 5.0, 600.0, 7 * 86_400.0
#: How long a device measures one graph at most, in seconds.
USUAL_SECONDS = 60.0
_ALLOW = "put `measure = true` into its agent.toml and start its agent again"
_TEXT_LIMIT_BYTES = 4 * 1024 * 1024


def complete(folder: Path, tolerance: Tolerance = PLAIN_TOLERANCE) -> Manifest:
    """Make the uploaded files of a folder what a device examines: a manifest of the graph and its golden vectors alone.

    Raises:
        MeasurementRefusedError: a file is missing, or no device could run the graph; the text names it.
    """
    for name in ("model.onnx", "golden.npz"):
        if not (folder / name).is_file():
            raise MeasurementRefusedError(f"{name} is missing; send it as a part of that name")
    if not zipfile.is_zipfile(folder / "golden.npz"):
        raise MeasurementRefusedError("golden.npz is not one; save input_0 ... and output_0 ... with numpy.savez")
    files = {name: file_info(folder / name) for name in ("golden.npz", "model.onnx")}
    try:
        manifest = _manifest(folder, files, tolerance)
    except OnnxRefusedError as error:
        raise MeasurementRefusedError(f"model.onnx: {error}") from error
    (folder / "release.json").write_bytes(encode_manifest(manifest))
    return manifest


def _manifest(folder: Path, files: dict[str, FileInfo], tolerance: Tolerance) -> Manifest:
    given = folder / "release.json"
    graph = (folder / "model.onnx").read_bytes()
    if not given.is_file():
        return plain_manifest(graph, files, tolerance=tolerance)
    check_onnx(read_onnx(graph))
    if given.stat().st_size > _TEXT_LIMIT_BYTES:
        raise MeasurementRefusedError(f"release.json is larger than {_TEXT_LIMIT_BYTES:,} bytes; it is not a manifest")
    try:
        return measured_manifest(decode_manifest(given.read_bytes()), files)
    except ManifestError as error:
        raise MeasurementRefusedError(str(error)) from error


def ask(
    home: Path,
    catalogue: Catalogue,
    folder: Path,
    devices: str | Sequence[str],
    clock: Clock,
    *,
    asked_by: str,
    wait_s: float = USUAL_WAIT_S,
    seconds: float = USUAL_SECONDS,
) -> Measurement:
    """Have the graph of a completed folder, which is moved away, measured by devices.

    Args:
        devices: names, or a selector; of what a selector means, those that take measuring jobs.
        wait_s: how long anybody waits for an answer.
        seconds: longest that a device measures.

    Raises:
        UnknownDeviceError, NoDeviceSelectedError: the text lists those there are.
        MeasurementRefusedError: no device of them takes measuring jobs, or too much waits already.
        LockedOutError: a named device was revoked.
    """
    chosen = _choose(catalogue, devices, clock())
    if catalogue.measurements.count_waiting() + len(chosen) > MOST_WAITING:
        raise MeasurementRefusedError(f"{MOST_WAITING} answers are waited for already; ask again when some are in")
    manifest = decode_manifest((folder / "release.json").read_bytes())
    files = {name: file_info(folder / name) for name in MEASURED_FILES}
    with catalogue.transaction():
        number = catalogue.measurements.add(
            manifest.model,
            files,
            [(device.name, device.profile) for device in chosen],
            expires_at=clock() + wait_s,
            seconds=seconds,
            asked_by=asked_by,
        )
        place = home / FOLDER / str(number)
        shutil.rmtree(place, ignore_errors=True)  # of a power cut before this number was kept
        place.parent.mkdir(exist_ok=True)
        folder.rename(place)
        for device in chosen:
            direct(home, catalogue, device, clock)
    return catalogue.measurements.get(number)


def direct(home: Path, catalogue: Catalogue, device: Device, clock: Clock) -> None:
    """Have the director sign for a device what it has not answered."""
    waiting = catalogue.measurements.waiting(device.name)
    orders = [
        MeasuringOrder(number=one.id, model=one.model, expires_at=one.expires_at, seconds=one.seconds)
        for one in waiting
    ]
    DirectorRepository(home, clock).measure(device.name, device.profile, orders, {one.id: one.files for one in waiting})


def _choose(catalogue: Catalogue, devices: str | Sequence[str], now: float) -> list[Device]:
    """Return the devices to ask: of a selector, those that measure, the ones that are there first."""
    found = select(catalogue, devices)
    named = not isinstance(devices, str) or (len(found) == 1 and found[0].name == devices)
    if named:
        for device in found:
            check_admitted(device)
            if device.status is not None and not device.status.measures:
                raise MeasurementRefusedError(f"device {device.name!r} takes no measuring jobs: {_ALLOW}")
    else:
        found = [device for device in found if device.status is not None and device.status.measures]
        if not found:
            raise MeasurementRefusedError(f"no device of {devices!r} takes measuring jobs: {_ALLOW}")
        there = {device.name: presence(device, catalogue.assignments.get(device.name), now) for device in found}
        found.sort(key=lambda device: there[device.name] != "online")
        found = found[:MOST_DEVICES]
    if len(found) > MOST_DEVICES:
        raise MeasurementRefusedError(f"{len(found)} devices are named, and {MOST_DEVICES} are the most at a time")
    full = [device.name for device in found if len(catalogue.measurements.waiting(device.name)) >= MOST_ORDERS]
    if full:
        raise MeasurementRefusedError(f"{MOST_ORDERS} jobs wait for device {full[0]!r} already; ask again later")
    return found


def take_answer(catalogue: Catalogue, device: str, measured: Measured) -> None:
    """Keep what a device says of a job that it was asked for; anything else is not counted.

    A device speaks for itself alone: name and profile are those of its enrolment.
    """
    found = catalogue.devices.get(device)
    figures = msgspec.structs.replace(measured.figures, device=device, profile=found.profile)
    if not catalogue.measurements.answer(measured.job, device, figures):
        log.info("an answer that nobody waits for", extra={"device": device, "measurement": measured.job})


def cancel(catalogue: Catalogue, number: int, by: str) -> Measurement:
    """End a measurement: what has not been answered will not be waited for.

    Raises:
        UnknownMeasurementError: there is none of that number.
    """
    for asked in catalogue.measurements.get(number).devices:
        figures = _none(asked.device, asked.profile, "cancelled", f"it was cancelled by {by}")
        catalogue.measurements.answer(number, asked.device, figures)
    return catalogue.measurements.get(number)


class Upkeep:
    """Lets measurements expire, signs no more what has an outcome, and deletes the files. For one thread."""

    def __init__(self, home: Path, catalogue: Catalogue, clock: Clock) -> None:
        self._home, self._catalogue, self._clock = home, catalogue, clock

    def keep(self) -> None:
        """Do what is due; quick where nothing is."""
        measurements = self._catalogue.measurements
        for number, name, profile in measurements.overdue(self._clock()):
            measurements.answer(number, name, _none(name, profile, "expired", self._why(name)))
        for name in measurements.signed_in_vain():
            with self._catalogue.transaction():
                direct(self._home, self._catalogue, self._catalogue.devices.get(name), self._clock)
                measurements.no_longer_signed(name)
        self._clear()

    def _clear(self) -> None:
        """Delete the files of what has ended; a number above the newest belongs to one that is just being kept."""
        folders = list((self._home / FOLDER).glob("[0-9]*"))
        if not folders:
            return
        newest, kept = self._catalogue.measurements.newest(), self._catalogue.measurements.open_numbers()
        for folder in folders:
            if int(folder.name) <= newest and int(folder.name) not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _why(self, name: str) -> str:
        device = self._catalogue.devices.get(name)
        found = presence(device, self._catalogue.assignments.get(name), self._clock())
        return {
            "never": "the device was never heard of until the job expired",
            "offline": "the device was offline until the job expired",
            "silent": "the device had gone silent when the job expired",
            "online": "the device did not come to it before the job expired: it was busy, or it takes no such jobs",
        }[found]


def _none(device: str, profile: str, outcome: Outcome, reason: str) -> DeviceFigures:
    return DeviceFigures(device=device, profile=profile, outcome=outcome, reason=reason)
