"""Words: numbers, sizes, times and states as a person reads them, as filters of the page templates."""

import math
from datetime import UTC, datetime
from typing import Any

from flask import Flask, request
from markupsafe import Markup

from protocols.feeding import Image, Window
from protocols.manifest import Manifest
from protocols.messages import Building, ServedStream, Telemetry
from protocols.placement import describe_run, short_name
from registry.web.context import context

_STEPS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"))
_JUST_NOW_S = 2
#: Stands where there is no value.
NOTHING = "\N{EN DASH}"
_STATES = {
    "assigned": "assigned, not fetched yet",
    "fetched": "fetched, not verified yet",
    "verified": "verified, preflight comes next",
    "preflight": "being proven on the device",
    "active": "serving, being watched",
    "confirmed": "serving",
    "refused": "refused by the device",
    "rolled-back": "rolled back",
}
_METRICS = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "log_loss": "log loss", "roc_auc": "ROC AUC", "f1": "F1"}
_KINDS = {"train": "training", "retrain": "retraining"}


def number(value: float | None, digits: int = 4) -> str:
    """Up to `digits` significant digits, thousands apart, and a dash for nothing."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.1e}"
    return f"{value:.{digits}g}"


def share(value: float | None) -> str:
    """A share as per cent; what is small but not nothing says so."""
    if value is None:
        return NOTHING
    if 0 < value < 0.001:
        return "< 0.1 %"
    return f"{value * 100:.1f} %" if 0 < value < 0.1 else f"{value * 100:.0f} %"


def size(value: int | None) -> str:
    """Bytes in decimal units."""
    if value is None:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value} bytes"


def milliseconds(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"


def span(seconds: float | None) -> str:
    """A length of time in its largest unit: `45 s`, `3 minutes`, `2 days`."""
    if seconds is None:
        return NOTHING
    for step, unit in _STEPS:
        if seconds >= step:
            count = int(seconds // step)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def relative(at: float, now: float) -> str:
    """When that was, seen from now."""
    past = now - at
    if abs(past) < _JUST_NOW_S:
        return "just now"
    return f"{span(past)} ago" if past > 0 else f"in {span(-past)}"


def absolute(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "at no time on our calendar"


def ago(at: float | None) -> Markup:
    """A `time` element: relative to read, absolute to point at."""
    if at is None:
        return Markup("never")
    full = absolute(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        full.removesuffix(" UTC").replace(" ", "T") + "Z", full, relative(at, context().clock())
    )


def clock_time(at: float) -> str:
    """The time of day, UTC."""
    return absolute(at)[11:19]


def state(text: str) -> str:
    return _STATES.get(text, text)


def metric(name: str) -> str:
    return _METRICS.get(name, name.replace("_", " "))


def kind(name: str) -> str:
    return _KINDS.get(name, name)


def plain(name: str) -> str:
    """A reason or kind such as `not-json` without its hyphens."""
    return name.replace("-", " ").replace("_", " ")


def provider(name: str) -> str:
    """An execution provider's name without its ending: `CPU`, `CUDA`, `OpenVINO`."""
    return short_name(name) or "not known"


def ran(told: ServedStream | Telemetry) -> str:
    """What was asked for and what runs, with its share of the nodes."""
    return describe_run(told.asked, told.provider, told.placement) or "not known"


def feeding(manifest: Manifest) -> str:
    """What the graph takes where that is more than a row; empty for a table's."""
    fed = manifest.feeding
    told = []
    if isinstance(fed, Window):
        told.append(f"the last {number(fed.rows)} rows" if fed.rows > 1 else "one row")
    elif isinstance(fed, Image):
        told.append(f"an image of {fed.height} by {fed.width} pixels in {fed.colours} (another size: {fed.resize})")
    if manifest.state:
        values = sum(math.prod(pair.shape) for pair in manifest.state)
        told.append(f"{number(values)} values of state from the call before")
    return " and ".join(told)


def progress(building: Building) -> str:
    """How long an engine is being compiled already, and how long it may take."""
    share = f", about {building.share:.0%} done" if building.share is not None else ""
    return f"for {span(building.seconds)} now, of {span(building.limit_s)} at most{share}"


def quantity(value: float | None, unit: str | None, digits: int = 4) -> str:
    text = number(value, digits)
    return f"{text} {unit}" if unit and value is not None else text


FILTERS = {
    "number": number,
    "share": share,
    "size": size,
    "milliseconds": milliseconds,
    "span": span,
    "ago": ago,
    "absolute": absolute,
    "clock_time": clock_time,
    "state": state,
    "metric": metric,
    "kind": kind,
    "plain": plain,
    "provider": provider,
    "ran": ran,
    "feeding": feeding,
    "progress": progress,
    "quantity": quantity,
}


def install(app: Flask) -> None:
    """Give the templates these words, and what every page shows."""
    app.jinja_env.filters.update(FILTERS)

    @app.context_processor
    def every_page() -> dict[str, Any]:
        every = request.args.get("every", "")
        return {
            "now": context().clock(),
            "every": int(every) if every.isascii() and every.isdigit() and 2 <= int(every[:4]) <= 600 else None,
            "open_to_all": context().loopback,
        }
