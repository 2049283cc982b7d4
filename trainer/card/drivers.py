"""What drives the target, in words: ranked, with effect sizes, and with what the ranking cannot tell."""

from collections.abc import Iterator, Sequence

from protocols.card import Card, Curve, Effect
from protocols.manifest import Importance, Manifest
from trainer.card.blocks import Block, Table
from trainer.card.plots import curve_plot, importance_plot
from trainer.card.strips import DOT, bar_strip, mark_strip

#: Inputs that are listed; a wide table has thousands.
SHOWN = 20


def drivers(manifest: Manifest, card: Card) -> Iterator[Block]:
    """Say which inputs drive the target."""
    if not card.effects and not card.undrawn:
        yield "No effects were computed."
        return
    for number, effect in enumerate(card.effects, 1):
        yield f"{number}. {effect_words(effect, _unit(manifest, effect.feature))}{_detour(effect, card.curves)}"
    yield from _undrawn(card)
    yield from _doubts(card)
    yield (
        "This is how the model answers when one input is moved and the others stay as they are. It is no proof of "
        "cause: only a trial on the line is."
    )
    listed = manifest.importance[:SHOWN]
    yield importance_plot(listed)
    yield Table(
        ("Input", "Mean contribution", "± (95 %)", _moves(manifest, card)),
        tuple(_ranked(one) for one in listed),
        (bar_strip("Drawn", [one.value for one in listed]),),
    )
    yield (
        "A contribution is an input's Shapley value: what it adds to the prediction of a row, in the target's unit or, "
        "of a classifier, in probability, compared with rows as usual; the mean is of its size, whichever way it goes."
    )
    for curve in card.curves:
        yield curve_plot(curve, _unit(manifest, curve.feature))
        yield curve_table(curve)
    if card.cut_short:
        yield "The time ran out before every curve was made; a larger --budget shows them."


def _undrawn(card: Card) -> Iterator[Block]:
    for name in card.undrawn:
        yield (
            f"What {name} does is not drawn: it holds points in time, and the table has not seen two parts of a day, "
            "week or year."
        )


def _doubts(card: Card) -> Iterator[Block]:
    for one in card.correlations:
        yield (
            f"Beware: {one.feature} and {one.other} move together (rank correlation {one.value:.2f}). The model cannot "
            f"tell which of the two is the cause, and their places in the ranking may be exchanged."
        )
    if card.groups:
        yield "Sensors that move together are best read as one. Together they contribute in the mean:"
        yield Table(
            ("Inputs that move together", "Mean contribution of all", "± (95 %)"),
            tuple((", ".join(one.features), f"{one.value:.3g}", _error(one.error)) for one in card.groups),
        )
    for first, second in card.ties:
        yield f"Whether {first} or {second} matters more, these rows do not tell: the difference is within its error."


def effect_words(effect: Effect, unit: str) -> str:
    """Say what moving one input does, as a person would."""
    if isinstance(effect.start, str) or isinstance(effect.end, str):
        step = f"from {effect.start!r} to {effect.end!r}"
    else:
        step = f"from {effect.start:.4g} to {effect.end:.4g}{f' {unit}' if unit else ''} (10th to 90th percentile)"
    return (
        f"{effect.feature} {step}: the {effect.of} moves by {effect.change:+.4g}, "
        f"from {effect.before:.4g} to {effect.after:.4g}."
    )


def _detour(effect: Effect, curves: Sequence[Curve]) -> str:
    """Tell of a way up and down between (and beyond) the two ends, which their difference hides."""
    means = next((curve.means for curve in curves if curve.feature == effect.feature), ())
    if not means or max(means) - min(means) < 2 * abs(effect.change):
        return ""
    return f" Over the range seen it goes from {min(means):.4g} to {max(means):.4g}: see its curve."


def curve_table(curve: Curve) -> Table:
    shown = [
        (f"{at:.4g}" if isinstance(at, float) else at, f"{mean:.4g}")
        for at, mean in zip(curve.at, curve.means, strict=True)
    ]
    drawn = mark_strip(DOT, [[(DOT, mean)] for mean in curve.means])
    return Table((curve.feature, f"Mean {curve.of}"), tuple(shown), (drawn,))


def _ranked(one: Importance) -> tuple[str, ...]:
    direction = {"rises": "rises", "falls": "falls", "mixed": ""}[one.direction]
    return one.feature, f"{one.value:.3g}", _error(one.error if isinstance(one.error, float) else None), direction


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:.2g}"


def _moves(manifest: Manifest, card: Card) -> str:
    """What a direction is of; of two classes it is the class in question."""
    of = card.effects[0].of if len(manifest.classes) == 2 and card.effects else "prediction"
    return f"{of[:1].upper()}{of[1:]}, as it rises"


def _unit(manifest: Manifest, feature: str) -> str:
    return next((spec.unit or "" for spec in manifest.inputs if spec.name == feature), "")
