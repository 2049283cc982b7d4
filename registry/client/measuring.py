"""Having a graph measured on enrolled devices, through a registry."""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from protocols.measuring import DeviceFigures, MeasureGraph
from registry.client.binding import chosen
from registry.client.rest import RegistryClient
from registry.errors import RegistryError, RegistryUnreachableError

USUAL_WAIT_S = 600.0
UPLOAD_TIMEOUT_S = 120.0
_POLL_S = 0.5
#: How long after the job's end its last word may take, in seconds.
_GRACE_S = 30.0


class Progress(msgspec.Struct, frozen=True):
    """How far one device is: `state` waiting, running or an outcome, `text` why."""

    device: str
    state: str
    text: str
    figures: DeviceFigures | None = None


class _Document(msgspec.Struct, frozen=True):
    id: int
    state: str
    devices: tuple[Progress, ...]


def measure(
    graph: bytes,
    golden: bytes,
    profile_or_device: str,
    *,
    client: RegistryClient,
    timeout_s: float = USUAL_WAIT_S,
    manifest: bytes | None = None,
    watch: Callable[[Sequence[Progress]], None] = lambda devices: None,
) -> list[DeviceFigures]:
    """Return what a graph does on a device, or on those of a profile that measure; one entry a device, also where not.

    A job that nobody waits for any more (Ctrl-C, an error here) is cancelled.

    Args:
        graph: model.onnx.
        golden: golden.npz, whose input_0 ... and output_0 ... are in the order of the graph's, or of the manifest's.
        profile_or_device: an enrolled device's name, a profile's, or a selector such as site=osaka,profile=x86.
        timeout_s: how long a device may be waited for; then its outcome is `expired`.
        manifest: release.json, for a graph that takes windows, images or state.
        watch: told how far each device is, a few times a second.

    Raises:
        RegistryRefusedError: no device measures, or no device could run the graph; the text says why.
        RegistryUnreachableError, NotAuthorisedError: as RegistryClient says.
    """
    parts = {"model.onnx": graph, "golden.npz": golden} | ({} if manifest is None else {"release.json": manifest})
    body, content_type = _multipart(parts)
    selector = _selector(client, profile_or_device)
    path = f"/measurements?devices={selector}&wait_s={timeout_s:g}"
    asked = _read(client.call("POST", path, body, content_type=content_type))
    try:
        return _await(client, asked, time.monotonic() + timeout_s + _GRACE_S, watch)
    except BaseException:
        with contextlib.suppress(RegistryError):  # where it is away, the job expires
            client.send("DELETE", f"/measurements/{asked.id}", {})
        raise


def measuring_on(client: RegistryClient, profile_or_device: str, *, timeout_s: float = USUAL_WAIT_S) -> MeasureGraph:
    """Return what measures one graph after another on the same devices: what a search is given.

    The registry is asked at once, so that a search is not begun in vain.

    Raises:
        NoDeviceSelectedError: no enrolled device is meant.
        RegistryUnreachableError, NotAuthorisedError: as RegistryClient says.
    """
    chosen(client.get("/devices"), _selector(client, profile_or_device))
    return lambda graph, golden: measure(graph, golden, profile_or_device, client=client, timeout_s=timeout_s)


def _await(
    client: RegistryClient, asked: _Document, until: float, watch: Callable[[Sequence[Progress]], None]
) -> list[DeviceFigures]:
    """Ask until each device has an outcome; a registry that starts again meanwhile is waited for."""
    while asked.state != "done":
        watch(asked.devices)
        time.sleep(_POLL_S)
        try:
            asked = _read(client.get(f"/measurements/{asked.id}"))
        except RegistryUnreachableError:
            if time.monotonic() > until:
                raise
    watch(asked.devices)
    return [one.figures for one in asked.devices if one.figures is not None]


def _selector(client: RegistryClient, named: str) -> str:
    if named == "*" or "=" in named:
        return named
    return named if any(device["name"] == named for device in client.get("/devices")) else f"profile={named}"


def _read(document: Any) -> _Document:
    return msgspec.convert(document, _Document)


def _multipart(parts: dict[str, bytes]) -> tuple[bytes, str]:
    boundary = secrets.token_hex(16)
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in parts.items()
    ]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
