"""The drift plot: one line per input over time, as SVG that needs no script and no style of its own.

Colours come from the style sheet by class, so that the plot follows light and dark.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from registry.monitoring.reports import DriftReport

#: Inputs that get a colour of their own; the rest are thin and grey.
COLOURED = 6
WIDTH, HEIGHT = 880, 348
#: Above the plot: the axis' name in one row, the releases in the next, so that neither covers the other.
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 48, 34
_LABEL_WIDTH = 80
_FLOOR = 0.01


class Series(NamedTuple):
    """One input's line: (time, PSI, version) oldest first. `colour` None: one of the grey."""

    name: str
    points: list[tuple[float, float, int]]
    colour: int | None

    @property
    def newest(self) -> float:
        return self.points[-1][1]


class Plot(NamedTuple):
    """The picture, and what its colours mean."""

    svg: Markup
    series: list[Series]


def drift_plot(model: str, reports: Sequence[DriftReport], threshold: float) -> Plot | None:
    """Draw the PSI of each input over a model's reports (any order); None where no report has one."""
    ordered = sorted(reports, key=lambda report: report.end)
    series = _series(ordered)
    if not series:
        return None
    scale = _Scale.of([report.end for report in ordered], max(max(psi for _, psi, _ in s.points) for s in series))
    parts = [
        *_grid(scale, threshold),
        *_releases(model, ordered, scale),
        *(line for one in reversed(series) for line in _line(one, scale)),
    ]
    title = f"Population stability index of each input of {model} over time"
    svg = Markup(
        '<svg class="plot" viewBox="0 0 {w} {h}" role="img" aria-labelledby="plot-title">'
        '<title id="plot-title">{title}</title>{parts}</svg>'
    ).format(w=WIDTH, h=HEIGHT, title=title, parts=Markup("").join(parts))
    return Plot(svg, [one for one in series if one.colour is not None])


class _Scale(NamedTuple):
    """Time along, PSI up on a logarithmic scale: 0.2 matters as much as 8."""

    first: float
    last: float
    top: float

    @classmethod
    def of(cls, times: Sequence[float], highest: float) -> "_Scale":
        first, last = min(times), max(times)
        slack = (last - first) * 0.02 or 30.0
        return cls(first - slack, last + slack, 10.0 ** max(0, math.ceil(math.log10(max(highest, _FLOOR)) - 1e-9)))

    def x(self, at: float) -> float:
        return round(_LEFT + (at - self.first) / (self.last - self.first) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, psi: float) -> float:
        part = math.log10(max(psi, _FLOOR) / _FLOOR) / math.log10(self.top / _FLOOR)
        return round(HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM), 1)


def _series(ordered: Sequence[DriftReport]) -> list[Series]:
    points: dict[str, list[tuple[float, float, int]]] = {}
    for report in ordered:
        for feature in report.features:
            if feature.psi is not None and math.isfinite(feature.psi):
                points.setdefault(feature.feature, []).append((report.end, feature.psi, report.version))
    ranked = sorted(points, key=lambda name: (-max(psi for _, psi, _ in points[name]), name))
    return [Series(name, points[name], rank if rank < COLOURED else None) for rank, name in enumerate(ranked)]


def _grid(scale: _Scale, threshold: float) -> list[Markup]:
    left, right = _LEFT, WIDTH - _RIGHT
    parts = [_text(left, 16, "PSI, logarithmic", "axis")]
    for exponent in range(-2, round(math.log10(scale.top)) + 1):
        y = scale.y(10.0**exponent)
        parts += [_rule(left, y, right, y, "grid"), _text(left - 8, y + 4, f"{10.0**exponent:g}", "axis end")]
    for at in _ticks(scale):
        parts.append(_text(scale.x(at), HEIGHT - 12, _when(at, scale.last - scale.first), "axis middle"))
    y = scale.y(threshold)
    label = f"drift from {threshold:g}"
    return [*parts, _rule(left, y, right, y, "threshold"), _text(right, y - 5, label, "threshold-label end")]


def _ticks(scale: _Scale) -> list[float]:
    span = scale.last - scale.first
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)
    step = next((one for one in steps if span / one <= 7), 86_400 * math.ceil(span / 86_400 / 7))
    first = math.ceil(scale.first / step) * step
    return [first + step * index for index in range(int((scale.last - first) // step) + 1)]


def _when(at: float, span: float) -> str:
    form = "%H:%M:%S" if span < 600 else "%H:%M" if span < 2 * 86_400 else "%d %b"
    return datetime.fromtimestamp(at, UTC).strftime(form)


def _releases(model: str, ordered: Sequence[DriftReport], scale: _Scale) -> list[Markup]:
    """A mark wherever the reports go over to another release."""
    parts = []
    for before, after in pairwise(ordered):
        if before.version != after.version:
            x = scale.x((before.end + after.end) / 2)
            parts.append(_rule(x, _TOP - 6, x, HEIGHT - _BOTTOM, "release"))
            side = "end" if x > WIDTH - _LABEL_WIDTH else "middle"
            parts.append(_text(x, _TOP - 10, f"{model}@{after.version}", f"release-label {side}"))
    return parts


def _line(series: Series, scale: _Scale) -> list[Markup]:
    """One path per release, since PSI against another reference is another measure, and a dot per report."""
    name = f"series-{series.colour}" if series.colour is not None else "series-other"
    parts = []
    for version in dict.fromkeys(version for _, _, version in series.points):
        placed = [f"{scale.x(at)} {scale.y(psi)}" for at, psi, of in series.points if of == version]
        if len(placed) > 1:
            parts.append(Markup('<path class="line {}" d="M{}"/>').format(name, " L".join(placed)))
    if series.colour is None:
        return parts
    for at, psi, version in series.points:
        tip = f"{series.name}: PSI {psi:.2f} with release {version} at {datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
        parts.append(
            Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
                name, scale.x(at), scale.y(psi), tip
            )
        )
    return parts


def _rule(x1: float, y1: float, x2: float, y2: float, name: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(name, x1, y1, x2, y2)


def _text(x: float, y: float, text: str, name: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(name, x, y, escape(text))
