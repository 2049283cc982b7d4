"""The model card on a release's page: the trainer's figures, drawn by the registry itself.

A card's HTML made by the publisher is never served: it could carry a script, or a form that asks for the token. The
figures are data of a known form, and every text in them is escaped here.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from markupsafe import Markup

from protocols.card import Bin, Card, Curve, Histogram, Operating

WIDTH, HEIGHT = 400, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 24
#: What is shown of a card that claims to have more.
MAX_CURVES, MAX_POINTS = 12, 64


class Drawn(NamedTuple):
    """A curve and its picture; None for one over categories, which is shown as a table."""

    curve: Curve
    svg: Markup | None


class CardView(NamedTuple):
    """What the page shows of a card."""

    card: Card
    curves: list[Drawn]
    calibration: Markup | None
    operating: Markup | None
    residuals: Markup | None
    shapes: list[Drawn]


def card_view(report: dict[str, Any]) -> CardView | None:
    """Return the card of a trainer's report, or None where it has none of the known form."""
    try:
        card = msgspec.convert(report.get("card"), Card)
    except msgspec.ValidationError:
        return None
    return CardView(
        card,
        _drawn(card.curves),
        _calibration(card.calibration[:MAX_POINTS]),
        _operating(card.operating[:MAX_POINTS]),
        _residuals(card.residuals),
        _drawn(card.shapes),
    )


def _drawn(curves: Sequence[Curve]) -> list[Drawn]:
    return [
        Drawn(curve, _curve(curve))
        for curve in curves[:MAX_CURVES]
        if 2 <= len(curve.at) == len(curve.means) <= MAX_POINTS
    ]


def _operating(points: Sequence[Operating]) -> Markup | None:
    return _picture([(one.false_alarms, one.hits) for one in points], "Hits over false alarms") if points else None


def _residuals(found: Histogram | None) -> Markup | None:
    if found is None or not 1 < len(found.counts) < min(len(found.edges), MAX_POINTS):
        return None
    middles = [(low + high) / 2 for low, high in pairwise(found.edges)]
    return _picture(list(zip(middles, found.counts, strict=False)), "Rows over prediction less truth")


def _curve(curve: Curve) -> Markup | None:
    across = [float(at) for at in curve.at if not isinstance(at, str)]
    if len(across) < len(curve.at):
        return None
    return _picture(list(zip(across, curve.means, strict=True)), f"Mean {curve.of} as {curve.feature} changes")


def _calibration(bins: Sequence[Bin]) -> Markup | None:
    return _picture([(one.predicted, one.observed) for one in bins], "Observed over predicted") if bins else None


def _picture(points: Sequence[tuple[float, float]], title: str) -> Markup | None:
    """A line with its dots and the ends of both axes; None for figures that no axis can hold."""
    if not all(math.isfinite(value) and abs(value) < 1e30 for point in points for value in point):
        return None
    left, right = _wide([x for x, _ in points])
    low, high = _wide([y for _, y in points])
    placed = [
        (
            round(_LEFT + (x - left) / (right - left) * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1),
        )
        for x, y in points
    ]
    labels = [
        _text(_LEFT - 6, _TOP + 8, f"{high:.4g}", "end"),
        _text(_LEFT - 6, HEIGHT - _BOTTOM, f"{low:.4g}", "end"),
        _text(_LEFT, HEIGHT - 6, f"{left:.4g}", ""),
        _text(WIDTH - _RIGHT, HEIGHT - 6, f"{right:.4g}", "end"),
    ]
    base = HEIGHT - _BOTTOM
    return Markup(
        '<svg class="plot curve" viewBox="0 0 {w} {h}" role="img" aria-label="{title}"><title>{title}</title>'
        '<line class="grid" x1="{x}" y1="{y}" x2="{r}" y2="{y}"/>'
        '<path class="line series-0" d="M{path}"/>{labels}</svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        title=title,
        x=_LEFT,
        y=base,
        r=WIDTH - _RIGHT,
        path=" L".join(f"{x} {y}" for x, y in placed),
        labels=Markup("").join(labels),
    )


def _wide(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - (abs(low) or 1.0), high + (abs(high) or 1.0))


def _text(x: float, y: float, text: str, side: str) -> Markup:
    return Markup('<text class="axis {}" x="{}" y="{}">{}</text>').format(side, x, y, text)
