"""The card's plots."""

from collections.abc import Sequence

from protocols.card import Bin, Curve, Front, Histogram, Operating
from protocols.manifest import Importance
from trainer.card.canvas import HEIGHT, LINE, QUIET, Plot, Scale, axes, bars, svg, text


def curve_plot(curve: Curve, unit: str) -> Plot:
    """Draw a partial dependence: a line over numbers, bars over categories."""
    title = f"Mean {curve.of} as {curve.feature} changes"
    numbers = [at for at in curve.at if not isinstance(at, str)]
    if len(numbers) < len(curve.at):
        return Plot(title, bars([str(at) for at in curve.at], curve.means, title))
    scale = Scale.over(numbers, curve.means)
    line = _path(list(zip(numbers, curve.means, strict=True)), scale)
    name = curve.feature if f"[{unit}]" in curve.feature or not unit else f"{curve.feature} [{unit}]"
    return Plot(title, svg(title, [*axes(scale, name), line]))


def calibration_plot(bins: Sequence[Bin], of: str) -> Plot:
    """Draw observed over predicted means, and the line on which they are equal."""
    title = f"Observed over predicted: {of}"
    every = [value for one in bins for value in (one.predicted, one.observed)]
    scale = Scale.over(every, every)
    dots = [f'<circle cx="{scale.x(one.predicted)}" cy="{scale.y(one.observed)}" r="4" fill="{LINE}"/>' for one in bins]
    return Plot(title, svg(title, [*axes(scale, "predicted"), _diagonal(scale), *dots]))


def importance_plot(importance: Sequence[Importance]) -> Plot:
    """Draw mean contributions as bars, with their intervals."""
    title = "Mean contribution of each input, with its 95 % interval"
    errors = [one.error or 0.0 for one in importance]
    return Plot(title, bars([one.feature for one in importance], [one.value for one in importance], title, errors))


def operating_plot(points: Sequence[Operating], of: str) -> Plot:
    """Draw hits over false alarms (ROC), and the line of an answer by lot."""
    title = f"Hits over false alarms: {of}"
    scale = Scale(0.0, 1.0, 0.0, 1.0)
    line = _path([(0.0, 0.0), *((one.false_alarms, one.hits) for one in points), (1.0, 1.0)], scale)
    by_lot = _diagonal(scale)
    return Plot(title, svg(title, [*axes(scale, "false alarms"), by_lot, line]))


def precision_plot(points: Sequence[Operating], of: str) -> Plot:
    """Draw the share of right answers over the share that is found."""
    title = f"Precision over hits: {of}"
    scale = Scale(0.0, 1.0, 0.0, 1.0)
    line = _path([(one.hits, one.precision) for one in points], scale)
    return Plot(title, svg(title, [*axes(scale, "hits"), line]))


def residual_plot(residuals: Histogram, target: str) -> Plot:
    """Draw how often predictions are off by how much."""
    title = f"Prediction less true {target}: held-out rows"
    scale = Scale.over(residuals.edges, [0.0, float(max(residuals.counts))])
    columns = [
        f'<rect x="{scale.x(low)}" y="{scale.y(count)}" width="{max(scale.x(high) - scale.x(low) - 1, 1):.1f}" '
        f'height="{scale.y(0) - scale.y(count):.1f}" fill="{LINE}"/>'
        for low, high, count in zip(residuals.edges, residuals.edges[1:], residuals.counts, strict=False)
    ]
    return Plot(title, svg(title, [*axes(scale, "prediction less truth"), *columns]))


def front_plot(front: Sequence[Front], metric: str) -> Plot:
    """Draw the loss of each model over its latency; the chosen one is filled."""
    title = f"{metric} over latency of the models that nothing beats"
    scale = Scale.over([one.latency_ms for one in front], [one.loss for one in front])
    dots = []
    for one in front:
        x, y = scale.x(one.latency_ms), scale.y(one.loss)
        fill = LINE if one.chosen else "none"
        dots.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{fill}" stroke="{LINE}" stroke-width="2"/>')
        if one.chosen:
            dots.append(text(x + 8, y - 6, "chosen", "start"))
    return Plot(title, svg(title, [*axes(scale, "milliseconds a row"), *dots], HEIGHT))


def _diagonal(scale: Scale) -> str:
    low, high = scale.left, scale.right
    return (
        f'<line x1="{scale.x(low)}" y1="{scale.y(low)}" x2="{scale.x(high)}" y2="{scale.y(high)}" '
        f'stroke="{QUIET}" stroke-dasharray="5 4"/>'
    )


def _path(points: Sequence[tuple[float, float]], scale: Scale) -> str:
    placed = " ".join(f"{scale.x(x)},{scale.y(y)}" for x, y in points)
    return f'<polyline fill="none" stroke="{LINE}" stroke-width="2" points="{placed}"/>'
