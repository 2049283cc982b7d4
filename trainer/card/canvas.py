"""What plots are drawn on: SVG text that needs no script, no font and no style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 26, 40
INK, QUIET, LINE = "#334", "#889", "#1f6feb"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, and what it shows in one line."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class Scale:
    """The ranges that a plot shows."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def over(cls, across: Sequence[float], up: Sequence[float]) -> "Scale":
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


def axes(scale: Scale, name: str) -> list[str]:
    """Draw the ends of both axes, and what goes along."""
    parts = []
    for value in (scale.low, (scale.low + scale.high) / 2, scale.high):
        y = scale.y(value)
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}" stroke="{QUIET}" opacity=".35"/>')
        parts.append(text(_LEFT - 6, y + 4, f"{value:.3g}", "end"))
    for value, anchor in ((scale.left, "start"), (scale.right, "end")):
        parts.append(text(scale.x(value), HEIGHT - _BOTTOM + 16, f"{value:.4g}", anchor))
    return [*parts, text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, name, "middle")]


def bars(names: Sequence[str], values: Sequence[float], title: str, errors: Sequence[float] = ()) -> str:
    """Draw a bar for each value, from zero; `errors` are what it may be more or less."""
    reach = [value + error for value, error in zip(values, errors, strict=False)]
    low, high = min(0.0, *values), max(0.0, *values, *reach)
    span, step = (high - low) or 1.0, 20
    parts = []
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        y, left = _TOP + row * step, 150
        start, end = sorted((left + (0 - low) / span * 220, left + (value - low) / span * 220))
        parts.append(text(left - 6, y + 13, name if len(name) < 22 else f"{name[:20]}…", "end"))
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 3}" width="{max(end - start, 1):.1f}" height="{step - 6}" fill="{LINE}"/>'
        )
        if row < len(errors) and errors[row]:
            ends = [left + (max(value + sign * errors[row], low) - low) / span * 220 for sign in (-1, 1)]
            parts.append(
                f'<line x1="{ends[0]:.1f}" y1="{y + 10}" x2="{ends[1]:.1f}" y2="{y + 10}" stroke="{INK}" '
                'stroke-width="2"/>'
            )
        parts.append(text(left + 226, y + 13, f"{value:.3g}", "start"))
    return svg(title, parts, _TOP + len(names) * step + 6)


def svg(title: str, parts: Sequence[str], height: float = HEIGHT) -> str:
    """Put a picture together."""
    words = escape(title if len(title) < 70 else f"{title[:68]}…")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<text x="4" y="15" fill="{INK}" font-weight="bold">{words}</text>{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Draw words, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}">{escape(words)}</text>'
