"""The devices, and one of them in detail."""

from flask import Blueprint, render_template

from protocols.errors import SketchError
from registry.catalogue.telemetry import Window
from registry.web.context import context
from registry.web.documents import latency_ms
from registry.web.pages.fleet import DeviceRow, device_rows
from registry.web.words import plain, provider, size

devices = Blueprint("device_pages", __name__, url_prefix="/devices")

SHOWN_WINDOWS = 20
_SHOWN_FACTS = 30


@devices.get("")
def page() -> str:
    return render_template(
        "devices.html", devices=device_rows(context().catalogue, context().clock()), home=context().home
    )


@devices.get("/<device>")
def one(device: str) -> str:
    catalogue = context().catalogue
    found = catalogue.devices.get(device)
    windows = catalogue.telemetry.by_device(device, SHOWN_WINDOWS)
    return render_template(
        "device.html",
        row=DeviceRow(found, catalogue.assignments.get(device), context().clock()),
        device=found,
        status=found.status,
        expires_at=catalogue.certificates.ends(found.serial).get(found.serial),
        home=context().home,
        served={stream.stream: stream for stream in found.status.streams} if found.status else {},
        serving={(stream.model, stream.version) for stream in found.status.streams} if found.status else set(),
        windows=[(window, *_latency(window)) for window in windows],
        facts=_facts(found.status.probe) if found.status else [],
        events=catalogue.events.list(device=device, limit=30),
    )


def _latency(window: Window) -> tuple[float | None, float | None]:
    try:
        return latency_ms(window.telemetry.latency)
    except SketchError:
        return None, None


def _facts(probe: dict[str, object]) -> list[tuple[str, str]]:
    """What the device says of its machine, one line per fact."""
    facts = []
    for name, value in list(probe.items())[:_SHOWN_FACTS]:
        if value is None or value == "":
            continue
        if name.endswith("_bytes") and isinstance(value, int):
            facts.append((plain(name.removesuffix("_bytes")), size(value)))
        elif isinstance(value, bool):
            facts.append((plain(name), "yes" if value else "no"))
        elif isinstance(value, list | tuple):
            facts.append((plain(name), ", ".join(provider(str(one)) for one in value)[:300] or "none"))
        else:
            facts.append((plain(name), str(value)[:300]))
    return facts
