"""The card's plots, as SVG text that needs no script, no font and no style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from protocols.card import Bin, Curve

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 26, 40
_INK, _QUIET, _LINE = "#334", "#889", "#1f6feb"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, and what it shows in one line."""

    title: str
    svg: str


def curve_plot(curve: Curve, unit: str) -> Plot:
    """Draw a partial dependence: a line over numbers, bars over categories."""
    title = f"Mean {curve.of} as {curve.feature} changes"
    numbers = [at for at in curve.at if not isinstance(at, str)]
    if len(numbers) < len(curve.at):
        return Plot(title, _bars([str(at) for at in curve.at], curve.means, title))
    scale = _Scale.over(numbers, curve.means)
    points = " ".join(f"{scale.x(at)},{scale.y(mean)}" for at, mean in zip(numbers, curve.means, strict=True))
    line = f'<polyline fill="none" stroke="{_LINE}" stroke-width="2" points="{points}"/>'
    name = curve.feature if f"[{unit}]" in curve.feature or not unit else f"{curve.feature} [{unit}]"
    return Plot(title, _svg(title, [*_axes(scale, name), line]))


def calibration_plot(bins: Sequence[Bin], of: str) -> Plot:
    """Draw observed over predicted means, and the line on which they are equal."""
    title = f"Observed over predicted: {of}"
    every = [value for one in bins for value in (one.predicted, one.observed)]
    scale = _Scale.over(every, every)
    low, high = scale.left, scale.right
    equal = (
        f'<line x1="{scale.x(low)}" y1="{scale.y(low)}" x2="{scale.x(high)}" y2="{scale.y(high)}" '
        f'stroke="{_QUIET}" stroke-dasharray="5 4"/>'
    )
    dots = [
        f'<circle cx="{scale.x(one.predicted)}" cy="{scale.y(one.observed)}" r="4" fill="{_LINE}"/>' for one in bins
    ]
    return Plot(title, _svg(title, [*_axes(scale, "predicted"), equal, *dots]))


@dataclass(frozen=True, slots=True)
class _Scale:
    """The ranges that a plot shows."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def over(cls, across: Sequence[float], up: Sequence[float]) -> "_Scale":
        left, right = _wide(min(across), max(across))
        low, high = _wide(min(up), max(up))
        return cls(left, right, low, high)

    def x(self, value: float) -> float:
        return round(_LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - _TOP - _BOTTOM), 1)


def _wide(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty, so that a flat line can be drawn."""
    return (low, high) if high > low else (low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1)


def _axes(scale: _Scale, name: str) -> list[str]:
    parts = []
    for value in (scale.low, (scale.low + scale.high) / 2, scale.high):
        y = scale.y(value)
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}" stroke="{_QUIET}" opacity=".35"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:.3g}", "end"))
    for value, anchor in ((scale.left, "start"), (scale.right, "end")):
        parts.append(_text(scale.x(value), HEIGHT - _BOTTOM + 16, f"{value:.4g}", anchor))
    return [*parts, _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, name, "middle")]


def _bars(names: Sequence[str], values: Sequence[float], title: str) -> str:
    low, high = min(0.0, *values), max(0.0, *values)
    span, step = (high - low) or 1.0, 20
    parts = []
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        y, left = _TOP + row * step, 150
        start, end = sorted((left + (0 - low) / span * 220, left + (value - low) / span * 220))
        parts.append(_text(left - 6, y + 13, name if len(name) < 22 else f"{name[:20]}…", "end"))
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 3}" width="{max(end - start, 1):.1f}" height="{step - 6}" fill="{_LINE}"/>'
        )
        parts.append(_text(left + 226, y + 13, f"{value:.3g}", "start"))
    return _svg(title, parts, _TOP + len(names) * step + 6)


def _svg(title: str, parts: Sequence[str], height: float = HEIGHT) -> str:
    words = escape(title if len(title) < 70 else f"{title[:68]}…")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<text x="4" y="15" fill="{_INK}" font-weight="bold">{words}</text>{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}" text-anchor="{anchor}">{escape(text)}</text>'
