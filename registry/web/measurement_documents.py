"""What the API says of measurements: how far each is, and what each device said."""

from typing import Literal

import msgspec

from protocols.measuring import DeviceFigures, Outcome
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.catalogue.measurements import AskedDevice, Measurement
from registry.presence import Presence, presence


class MeasuredDeviceDocument(msgspec.Struct, frozen=True):
    """One device of a measurement.

    `state`: waiting, running, or its outcome. `text` says why it waits, or why there are no figures.
    """

    device: str
    profile: str
    state: Literal["waiting", "running"] | Outcome
    presence: Presence
    text: str
    figures: DeviceFigures | None


class MeasurementDocument(msgspec.Struct, frozen=True):
    """One graph that devices measure; `done` once each of them has an outcome. Times: seconds since the epoch.

    `seconds` is the longest that a device measures; `size_bytes` is the graph's.
    """

    id: int
    model: str
    state: Literal["waiting", "done"]
    created_at: float
    expires_at: float
    seconds: float
    size_bytes: int
    asked_by: str
    devices: tuple[MeasuredDeviceDocument, ...]


def measurement_document(catalogue: Catalogue, measurement: Measurement, now: float) -> MeasurementDocument:
    return MeasurementDocument(
        measurement.id,
        measurement.model,
        "done" if measurement.finished else "waiting",
        measurement.created_at,
        measurement.expires_at,
        measurement.seconds,
        measurement.files["model.onnx"].size_bytes,
        measurement.asked_by,
        tuple(_device(catalogue, measurement.id, asked, now) for asked in measurement.devices),
    )


def _device(catalogue: Catalogue, number: int, asked: AskedDevice, now: float) -> MeasuredDeviceDocument:
    device = catalogue.devices.get(asked.device)
    there = presence(device, catalogue.assignments.get(device.name), now)
    if asked.figures is not None:
        outcome, reason = asked.figures.outcome, asked.figures.reason
        return MeasuredDeviceDocument(asked.device, asked.profile, outcome, there, reason, asked.figures)
    state, text = _waiting(device, number, there)
    return MeasuredDeviceDocument(asked.device, asked.profile, state, there, text, None)


def _waiting(device: Device, number: int, there: Presence) -> tuple[Literal["waiting", "running"], str]:
    running = device.status.measuring if device.status is not None and there == "online" else None
    if running is not None and running.job == number and running.step != "waiting":
        return "running", "it measures" if running.step == "measuring" else "it fetches the graph"
    if running is not None and running.job == number:
        return "waiting", "the device is busy with what it serves"
    if running is not None:
        return "waiting", f"the device has measurement {running.job} in hand"
    words: dict[Presence, str] = {
        "online": "the device has not begun",
        "silent": "the device has not been heard of for a while; it measures when it is back in time",
        "offline": "the device is offline; it measures when it is back in time",
        "never": "the device was never heard of; it measures when its agent runs in time",
    }
    return "waiting", words[there]
