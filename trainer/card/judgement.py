"""How good, for whom, and beside what, in words: quality, weak spots, fairness, counterfactuals, rivals."""

from collections.abc import Callable, Iterator, Sequence

from protocols.card import Bin, Card, Confusion, Fairness, Front, GroupFigures, Operating, Otherwise, Rate
from protocols.manifest import Manifest
from trainer.card.blocks import Block, Table, metric_word
from trainer.card.drivers import curve_table
from trainer.card.plots import (
    calibration_plot,
    curve_plot,
    front_plot,
    operating_plot,
    precision_plot,
    residual_plot,
)
from trainer.card.strips import DIAMOND, DOT, RING, bar_strip, mark_strip
from trainer.explain.reasons import change_words

#: Thresholds in the table, of those in the plot.
LISTED = 8


def quality(manifest: Manifest, card: Card) -> Iterator[Block]:
    """Say how good the model is beside the simplest answer."""
    simple = "the mean of what it learned from" if card.baseline.kind == "mean" else "the share of each class"
    own, other = manifest.metrics.get(manifest.metric), card.baseline.metrics.get(manifest.metric)
    metric, known = metric_word(manifest.metric), card.baseline.metrics
    if own is not None and other:
        yield (
            f"On held-out rows its {metric} is {own:.4g}; always answering with {simple} has {other:.4g}. It takes "
            f"away {1 - own / other:.0%} of that error."
            if own < other
            else f"On held-out rows its {metric} is {own:.4g}, no better than always answering with {simple} "
            f"({other:.4g}): do not use it."
        )
    rows = [
        (metric_word(name), f"{value:.4g}", f"{known[name]:.4g}" if name in known else "")
        for name, value in manifest.metrics.items()
    ]
    yield Table(("Figure", "Model", "Simplest answer"), tuple(rows))
    if card.calibration:
        yield f"Predicted beside observed, {card.calibrated}, in bins of held-out rows:"
        yield calibration_plot(card.calibration, card.calibrated)
        yield _bins(card.calibration)
    if card.confusion:
        yield "What is answered, by what it is:"
        yield _confusion(card.confusion)
    if card.operating:
        yield operating_plot(card.operating, card.calibrated)
        yield precision_plot(card.operating, card.calibrated)
        yield f"What answering so from a probability on would do ({card.calibrated}):"
        yield _thresholds(card.operating[:: max(1, len(card.operating) // LISTED)])
    if card.residuals:
        yield residual_plot(card.residuals, manifest.target)
        edges, counts = card.residuals.edges, card.residuals.counts
        yield Table(
            ("Prediction less truth", "Rows"),
            tuple(
                (f"{low:.3g} to {high:.3g}", str(count))
                for low, high, count in zip(edges, edges[1:], counts, strict=False)
            ),
            (bar_strip("Drawn", counts),),
        )


def _bins(calibration: Sequence[Bin]) -> Table:
    rows = [(f"{one.predicted:.4g}", f"{one.observed:.4g}", str(one.rows)) for one in calibration]
    marks = [((RING, one.predicted), (DOT, one.observed)) for one in calibration]
    drawn = mark_strip(f"{RING} predicted, {DOT} observed", marks)
    return Table(("Predicted", "Observed", "Rows"), tuple(rows), (drawn,))


def _thresholds(points: Sequence[Operating]) -> Table:
    rows = [
        (f"{one.threshold:.3g}", f"{one.hits:.0%}", f"{one.false_alarms:.1%}", f"{one.precision:.0%}") for one in points
    ]
    marks = [((RING, one.false_alarms), (DIAMOND, one.precision), (DOT, one.hits)) for one in points]
    drawn = mark_strip(f"{DOT} found, {RING} false alarms, {DIAMOND} right", marks, (0.0, 1.0))
    return Table(("From", "Found", "False alarms", "Right answers"), tuple(rows), (drawn,))


def _confusion(confusion: Confusion) -> Table:
    head = ("It is", *(f"answered {name!r}" for name in confusion.classes))
    lines = [
        (repr(name), *(str(count) for count in line))
        for name, line in zip(confusion.classes, confusion.counts, strict=True)
    ]
    return Table(head, tuple(lines))


def weak_spots(manifest: Manifest, card: Card) -> Iterator[Block]:
    """Say where it errs more than elsewhere."""
    if card.segments is None:
        yield "Not looked at: the time ran out, a larger --budget shows it."
        return
    if not card.segments:
        yield "No part of the held-out rows is worse than the rest by more than chance."
        return
    overall = manifest.metrics.get(manifest.metric)
    yield f"Over all held-out rows its {metric_word(manifest.metric)} is {overall:.4g}." if overall is not None else ""
    rows = [(one.where, str(one.rows), f"{one.value:.4g}", _chance(one.chance)) for one in card.segments]
    yield Table(("Where", "Rows", metric_word(manifest.metric), "Chance"), tuple(rows))
    if any(one.chance is not None for one in card.segments):
        yield (
            "Chance: how often the worst of all parts that were looked at would be as bad, if errors fell on rows at "
            "random."
        )


def _chance(chance: float | None) -> str:
    return "" if chance is None else f"{chance:.1%}"


def otherwise(example: Otherwise) -> Iterator[Block]:
    """Tell the example of what would have to change."""
    by_class = example.wanted.startswith(("'", '"'))
    reached = f" (probability of {example.wanted}: {example.reached:.3g})" if by_class else ""
    yield (
        f"One held-out row is answered with {example.answer}{reached}. For it to come out as {example.wanted}, with "
        "its most important inputs free to move within the ranges seen:"
    )
    if not example.alternatives:
        closest = "" if example.closest is None else f"; the nearest that any comes is {example.closest:.4g}"
        yield f"no change of them does it{closest}."
    for number, one in enumerate(example.alternatives, 1):
        guess = " Nothing like it is known, so this is a guess." if one.unusual else ""
        yield f"{number}. {change_words(one)}: {'probability' if by_class else 'prediction'} {one.reached:.3g}.{guess}"
    yield "`genba explain` answers this for any row, with the inputs that you name as changeable."


def fair(manifest: Manifest, card: Card) -> Iterator[Block]:
    """Tell each group's figures, and which gaps are beyond chance."""
    for one in card.fairness:
        yield f"By {one.column}, on held-out rows{f', for the class {one.of!r}' if one.of else ''}:"
        yield _groups(manifest, one)
        named = [gap for gap in one.gaps if gap.beyond_chance]
        for gap in named:
            yield (
                f"The {gap.figure} of {gap.most!r} is {gap.difference.value:.3g} above that of {gap.least!r} (95 % "
                f"interval {gap.difference.low:.3g} to {gap.difference.high:.3g}, for all pairs that were compared)."
            )
        if one.gaps and not named:
            wide = max(one.gaps, key=lambda gap: gap.difference.high)
            yield (
                f"No gap between two groups is beyond chance. These rows cannot rule out one of up to "
                f"{wide.difference.high:.3g} ({wide.figure}): few rows prove no fairness."
            )
        if len(one.groups) < 2:
            yield "Fewer than two groups have rows enough to be compared."
        if one.left_out:
            yield f"{one.left_out} rows of groups with few rows are left out."


def _groups(manifest: Manifest, one: Fairness) -> Table:
    columns: list[tuple[str, Callable[[GroupFigures], Rate | None]]] = [
        ("Answered so", lambda group: group.selected),
        ("False alarms", lambda group: group.false_alarms),
        ("Missed", lambda group: group.misses),
        ("Wrong answers", lambda group: group.wrong),
        ("Mean error", lambda group: group.mean_error),
    ]
    told = [(name, pick) for name, pick in columns if any(pick(group) is not None for group in one.groups)]
    head = (one.column, "Rows", metric_word(manifest.metric), *(name for name, _ in told))
    return Table(head, tuple(_line(group, [pick(group) for _, pick in told]) for group in one.groups))


def _line(group: GroupFigures, rates: list[Rate | None]) -> tuple[str, ...]:
    told = ["" if rate is None else f"{rate.value:.3g} ({rate.low:.3g} to {rate.high:.3g})" for rate in rates]
    return group.group, str(group.rows), f"{group.metric:.4g}", *told


def rivals(manifest: Manifest, card: Card) -> Iterator[Block]:
    """Tell what reading the model whole would cost, and the models that nothing beats in every figure."""
    metric = metric_word(card.loss_name or manifest.metric)
    if one := card.interpretable:
        costs = f"costs {one.cost_share:.1%} more of it" if one.cost_share > 0 else "costs nothing"
        yield (
            f"The best model that a person can read whole ({one.name}) has a {metric} of {one.loss:.4g}, the best of "
            f"all {one.best_loss:.4g}: being able to read it {costs}. Both are of the search's own validation."
        )
    if card.shapes:
        yield "What that readable model makes of each input, the others as they are:"
    for curve in card.shapes:
        yield curve_plot(curve, "")
        yield curve_table(curve)
    if card.front:
        yield "Each of these models is better than every other in at least one figure:"
        yield front_plot(card.front, metric)
        yield _front(card.front, metric)


def _front(front: Sequence[Front], metric: str) -> Table:
    signs = [DOT if one.chosen else RING for one in front]
    losses = [[(sign, one.loss)] for sign, one in zip(signs, front, strict=True)]
    latencies = [[(sign, one.latency_ms)] for sign, one in zip(signs, front, strict=True)]
    rows = [
        (
            one.name,
            f"{one.loss:.4g}",
            f"{one.latency_ms:.3g}",
            f"{one.size_bytes / 1e3:.3g}",
            f"{one.memory_bytes / 1e6:.3g}",
            "chosen" if one.chosen else "",
        )
        for one in front
    ]
    return Table(
        ("Model", metric, "Latency (ms)", "Size (kB)", "Memory (MB)", ""),
        tuple(rows),
        (mark_strip(f"{metric} ({DOT} chosen)", losses), mark_strip("milliseconds", latencies)),
    )
