"""What a card says, in words, tables and plots; how it looks is up to `page` and `markdown`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from protocols.card import Card, Curve, Effect
from protocols.manifest import Manifest
from trainer.card.plots import Plot, calibration_plot, curve_plot
from trainer.guardrails.rail import Guardrail

#: Inputs that are listed; a wide table has thousands.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Table:
    """Text in cells, the first column being the row's name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One heading and what stands under it."""

    title: str
    blocks: tuple[str | Table | Plot, ...]


def sections(manifest: Manifest, guardrails: Sequence[Guardrail], card: Card) -> list[Section]:
    """Return a card's sections, in the order in which a reader needs them."""
    return [
        Section("What it predicts", tuple(_purpose(manifest, card))),
        Section("How good it is", tuple(_quality(manifest, card))),
        Section(f"What drives {manifest.target}", tuple(_drivers(manifest, card))),
        Section("Where it is worst", tuple(_segments(manifest, card))),
        Section("Data and checks", tuple(_data(manifest, guardrails))),
        Section("Proof", tuple(_proof(manifest))),
        Section("Where it comes from", (_lineage(manifest),)),
        Section("Limits of use", tuple(_limits(manifest, card))),
    ]


def _purpose(manifest: Manifest, card: Card) -> Iterator[str | Table]:
    classes = f", one of {', '.join(manifest.classes)}" if manifest.classes else ""
    yield (
        f"{manifest.model} predicts {manifest.target} ({manifest.task}{classes}) from {len(manifest.inputs)} inputs. "
        f"It learned from rows of {manifest.lineage.data_name}; {card.held_out} others, held out, measured it."
    )
    rows = []
    for spec in manifest.inputs[:SHOWN]:
        seen = ", ".join((spec.categories or ())[:8])
        if spec.low is not None and spec.high is not None:
            seen = f"{spec.low:.4g} to {spec.high:.4g}"
        rows.append((spec.name, spec.unit or "", seen))
    yield Table(("Input", "Unit", "Seen in training"), tuple(rows))
    if len(manifest.inputs) > SHOWN:
        yield f"And {len(manifest.inputs) - SHOWN} more inputs."


def _quality(manifest: Manifest, card: Card) -> Iterator[str | Table | Plot]:
    simple = "the mean of what it learned from" if card.baseline.kind == "mean" else "the share of each class"
    own, other = manifest.metrics.get(manifest.metric), card.baseline.metrics.get(manifest.metric)
    if own is not None and other:
        yield (
            f"On held-out rows its {_word(manifest.metric)} is {own:.4g}; always answering with {simple} has "
            f"{other:.4g}. It takes away {1 - own / other:.0%} of that error."
            if own < other
            else f"On held-out rows its {_word(manifest.metric)} is {own:.4g}, no better than always answering with "
            f"{simple} ({other:.4g}): do not use it."
        )
    rows = [
        (_word(name), f"{value:.4g}", f"{card.baseline.metrics[name]:.4g}" if name in card.baseline.metrics else "")
        for name, value in manifest.metrics.items()
    ]
    yield Table(("Figure", "Model", "Simplest answer"), tuple(rows))
    if card.calibration:
        yield f"Predicted beside observed, {card.calibrated}, in bins of held-out rows:"
        bins = [(f"{one.predicted:.4g}", f"{one.observed:.4g}", str(one.rows)) for one in card.calibration]
        yield calibration_plot(card.calibration, card.calibrated)
        yield Table(("Predicted", "Observed", "Rows"), tuple(bins))


def _drivers(manifest: Manifest, card: Card) -> Iterator[str | Table | Plot]:
    if not card.effects:
        yield "No effects were computed."
        return
    for number, effect in enumerate(card.effects, 1):
        yield f"{number}. {effect_words(effect, _unit(manifest, effect.feature))}{_detour(effect, card.curves)}"
    for one in card.correlations:
        yield (
            f"Beware: {one.feature} and {one.other} move together (rank correlation {one.value:.2f}). The model cannot "
            f"tell which of the two is the cause, and their places in the ranking may be exchanged."
        )
    yield (
        "This is how the model answers when one input is moved and the others stay as they are. It is no proof of "
        "cause: only a trial on the line is."
    )
    ranking = [
        (one.feature, f"{one.value:.3g}", {"rises": "rises", "falls": "falls", "mixed": ""}[one.direction])
        for one in manifest.importance[:SHOWN]
    ]
    yield Table(("Input", "Mean contribution", "Prediction, as it rises"), tuple(ranking))
    for curve in card.curves:
        yield curve_plot(curve, _unit(manifest, curve.feature))
        yield _curve_table(curve)
    if card.cut_short:
        yield "The time ran out before every curve was made; a larger --budget shows them."


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


def _curve_table(curve: Curve) -> Table:
    shown = [
        (f"{at:.4g}" if isinstance(at, float) else at, f"{mean:.4g}")
        for at, mean in zip(curve.at, curve.means, strict=True)
    ]
    return Table((curve.feature, f"Mean {curve.of}"), tuple(shown))


def _segments(manifest: Manifest, card: Card) -> Iterator[str | Table]:
    if not card.segments:
        yield "No part of the held-out rows is worse than the rest by more than chance."
        return
    overall = manifest.metrics.get(manifest.metric)
    yield f"Over all held-out rows its {_word(manifest.metric)} is {overall:.4g}." if overall is not None else ""
    rows = [(one.where, str(one.rows), f"{one.value:.4g}") for one in card.segments]
    yield Table(("Where", "Rows", _word(manifest.metric)), tuple(rows))


def _data(manifest: Manifest, guardrails: Sequence[Guardrail]) -> Iterator[str | Table]:
    lineage = manifest.lineage
    yield f"{lineage.data_name}: {lineage.rows} labelled rows, SHA-256 {lineage.data_sha256}."
    rows = [
        (rail.check, rail.state, "; ".join(rail.seen[:8]), rail.done, rail.override)
        for rail in sorted(guardrails, key=lambda rail: ("alerted", "done", "passed").index(rail.state))
    ]
    yield Table(("Check", "State", "Seen", "Done", "Otherwise"), tuple(rows))


def _proof(manifest: Manifest) -> Iterator[str | Table]:
    verb = "computes" if manifest.parity.passed else "DOES NOT compute"
    yield (
        f"The ONNX graph {verb} what the fitted model computes, "
        f"by ONNX Runtime {manifest.parity.onnxruntime}; allowed are {manifest.parity.tolerance.absolute:.2g} and "
        f"{manifest.parity.tolerance.relative:.2g} of the value."
    )
    rows = [
        (
            case.name,
            str(case.rows),
            f"{case.largest_difference:.2g}",
            str(case.label_flips),
            "yes" if case.passed else "NO",
        )
        for case in manifest.parity.cases
    ]
    yield Table(("Rows", "How many", "Largest difference", "Label flips", "Passed"), tuple(rows))
    footprint = manifest.footprint
    yield (
        f"One row takes {footprint.latency_p50_ms:.3g} ms in the median and {footprint.latency_p99_ms:.3g} ms at the "
        f"99th percentile on {footprint.measured_on}; serving takes {footprint.memory_bytes / 1e6:.3g} MB of memory. "
        f"model.onnx has {manifest.files['model.onnx'].size_bytes / 1000:.3g} kB, SHA-256 {manifest.digest}."
    )


def _lineage(manifest: Manifest) -> Table:
    lineage = manifest.lineage
    chosen = ", ".join(f"{name} {value}" for name, value in lineage.parameters.items())
    rows = [
        ("Made", manifest.created),
        ("Genba", lineage.code_version),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in lineage.pins.items())),
        ("Search", f"{lineage.trials} trials in {lineage.budget_s:g} s, seed {lineage.seed}"),
        ("Chosen", chosen),
    ]
    more = [("Follows", lineage.parent), ("Author", manifest.author), ("Licence", manifest.licence)]
    return Table(("", ""), (*rows, *((name, value) for name, value in more if value)))


def _limits(manifest: Manifest, card: Card) -> Iterator[str]:
    yield (
        "It knows the ranges and values above, and no others: beyond them its answers are guesses, and a device counts "
        "such rows as out of range."
    )
    yield (
        "Its figures hold for rows like the held-out ones. Where the process moves, they grow worse; drift reports say "
        "when, and a retraining is the remedy."
    )
    if manifest.lineage.rows < 200:
        yield f"It learned from {manifest.lineage.rows} labelled rows, which is few: take every figure as rough."
    if manifest.classes and any(one.where for one in card.segments):
        yield "In the segments above it errs more than elsewhere: let a person decide there."
    yield "It says what goes with what in the table, not what causes what."


def _unit(manifest: Manifest, feature: str) -> str:
    return next((spec.unit or "" for spec in manifest.inputs if spec.name == feature), "")


def _word(metric: str) -> str:
    words = {"rmse": "RMSE", "mae": "mean absolute error", "r2": "R²", "roc_auc": "ROC AUC"}
    return words.get(metric, metric.replace("_", " "))
