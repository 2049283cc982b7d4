"""The trainer's own report: guardrails, leaderboard and figures; `report.json` for machines, text for people."""

from collections.abc import Sequence

import msgspec

from protocols.card import Card, Fairness
from protocols.feeding import Image
from protocols.manifest import Importance, Manifest, ParityCertificate
from protocols.measuring import DeviceFigures
from protocols.recipe import Recipe
from trainer.card.content import decision_words, effect_words
from trainer.families import Parameters
from trainer.guardrails.rail import Guardrail
from trainer.search.boards import figures_words

#: Rows of each table in the text.
SHOWN = 8


class TriedModel(msgspec.Struct, frozen=True):
    """One row of the leaderboard; `loss` is the metric on rows that it had not learned from."""

    loss: float
    parameters: Parameters


class Report(msgspec.Struct, frozen=True):
    """What a training run saw, did and found.

    `refused` says which better models failed their proof, or were beyond a limit, and how. `front` has the recipes of
    the card's front, in its order. `variants` says which variants are not offered, and why.
    """

    guardrails: tuple[Guardrail, ...]
    trials: tuple[TriedModel, ...]
    refused: tuple[str, ...]
    metric: str
    metrics: dict[str, float]
    importance: tuple[Importance, ...]
    parity: ParityCertificate
    cut_short: bool
    seconds: float
    card: Card | None = None
    boards: tuple[DeviceFigures, ...] = ()
    front: tuple[Recipe, ...] = ()
    variants: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        guardrails: Sequence[Guardrail],
        trials: Sequence[TriedModel],
        refused: Sequence[str],
        manifest: Manifest,
        seconds: float,
        card: Card | None = None,
    ) -> "Report":
        return cls(
            tuple(guardrails),
            tuple(trials),
            tuple(refused),
            manifest.metric,
            manifest.metrics,
            manifest.importance,
            manifest.parity,
            manifest.lineage.cut_short,
            seconds,
            card,
        )


def encode_report(report: Report) -> bytes:
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def decode_report(data: bytes) -> Report:
    """Read `report.json`. Raises msgspec.DecodeError where it is not one."""
    return msgspec.json.decode(data, type=Report)


def describe(report: Report, manifest: Manifest) -> str:
    """Return the report as a person reads it in a terminal."""
    of_what = f" of {manifest.target!r}" if manifest.target else ""
    counted = "images" if isinstance(manifest.feeding, Image) else "rows"
    lines = [f"{manifest.model}: {manifest.task}{of_what}, {manifest.lineage.rows} {counted}"]
    lines += ["", "data checks", *_guardrail_lines(report.guardrails)]
    if report.trials:
        lines += ["", f"leaderboard ({loss_of(report)} on rows to validate on, lower is better)", *_trial_lines(report)]
    if report.metrics:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
        rows = "held-out rows" if manifest.lineage.trials else "rows of the sample"
        lines += ["", f"{rows}: {figures}"]
    lines += ["", "parity of graph and model", *_parity_lines(report)]
    if report.importance:
        lines += ["", "what drives the prediction", *_importance_lines(report.importance)]
    lines += _card_lines(report)
    lines += _front_lines(report)
    lines += _decision_lines(manifest)
    size = manifest.files["model.onnx"].size_bytes
    lines += ["", f"model.onnx {size / 1000:.3g} kB, sha256 {manifest.digest}"]
    for name, variant in manifest.variants.items():
        kilobytes = manifest.files[variant.file].size_bytes / 1000
        lines += [
            f"{variant.file} {kilobytes:.3g} kB, {variant.made}: {name} differs by up to "
            f"{variant.largest_difference:.3g} ({variant.tolerance.absolute:.3g} allowed)"
        ]
    lines += report.variants
    footprint = manifest.footprint
    lines += [f"one row in {footprint.latency_p50_ms:.3f} ms (p99 {footprint.latency_p99_ms:.3f} ms) on this machine"]
    return "\n".join(lines)


def loss_of(report: Report) -> str:
    """What the search made small, as leaderboard and front have it."""
    return (report.card.loss_name if report.card else "") or report.metric


def _guardrail_lines(guardrails: Sequence[Guardrail]) -> list[str]:
    lines = []
    for rail in guardrails:
        lines.append(f"  {rail.state:<8}{rail.check}")
        if rail.state == "passed":
            continue
        lines += [f"          {seen}" for seen in rail.seen[:SHOWN]]
        lines += [f"          and {len(rail.seen) - SHOWN} more"] * (len(rail.seen) > SHOWN)
        lines.append(f"          -> {rail.done}" + (f" (otherwise: {rail.override})" if rail.override else ""))
    return lines


def _trial_lines(report: Report) -> list[str]:
    lines = []
    for trial in report.trials[:SHOWN]:
        rest = {name: value for name, value in trial.parameters.items() if name != "family"}
        shown = ", ".join(f"{name} {_number(value)}" for name, value in rest.items())
        lines.append(f"  {trial.loss:<10.5g} {trial.parameters['family']:<10} {shown}".rstrip())
    if len(report.trials) > SHOWN:
        lines.append(f"  and {len(report.trials) - SHOWN} more")
    if report.cut_short:
        lines.append(
            "  the time was over before every model of the mean was fitted, and it was released without them: "
            "give a larger --budget"
        )
    return lines + [f"  refused: {reason}" for reason in report.refused]


def _parity_lines(report: Report) -> list[str]:
    return [
        f"  {'passed' if case.passed else 'FAILED':<8}{case.name:<9} {case.rows} rows, largest difference "
        f"{case.largest_difference:.2g}, mean {case.mean_difference:.2g}, label flips {case.label_flips}"
        for case in report.parity.cases
    ]


def _importance_lines(importance: Sequence[Importance]) -> list[str]:
    top = importance[0].value or 1.0
    width = max(len(one.feature) for one in importance[:SHOWN])
    signs = {"rises": "the prediction rises with it", "falls": "the prediction falls with it", "mixed": ""}
    return [
        f"  {one.feature:<{width}}  {_bar(one.value / top):<20} {one.value:<9.3g} {signs[one.direction]}".rstrip()
        for one in importance[:SHOWN]
    ]


def _bar(share: float) -> str:
    return "#" * max(1, round(20 * share)) if share > 0 else ""


def _card_lines(report: Report) -> list[str]:
    if report.card is None:
        return []
    lines = [f"  {effect_words(effect, '')}" for effect in report.card.effects[:3]]
    lines += [
        f"  {one.feature} and {one.other} move together ({one.value:.2f}): which of the two is the cause, the model "
        "cannot tell"
        for one in report.card.correlations[:3]
    ]
    worst = [f"  {one.where}: {report.metric} {one.value:.4g} on {one.rows} rows" for one in report.card.segments or ()]
    if report.card.segments is None:
        worst = ["  not looked at: the time ran out, a larger --budget shows it"]
    simple = report.card.baseline.metrics.get(report.metric)
    lines += ["", f"the simplest answer has {report.metric} {simple:.4g}"] * (simple is not None)
    lines += ["", "where it is worst", *worst] if worst else []
    return lines + [line for one in report.card.fairness for line in _fairness_lines(one)]


def _fairness_lines(fair: Fairness) -> list[str]:
    gaps = [
        f"  the {gap.figure} of {gap.most!r} is {gap.difference.value:.3g} above that of {gap.least!r} "
        f"({gap.difference.low:.2g} to {gap.difference.high:.2g})"
        for gap in fair.gaps
        if gap.beyond_chance
    ]
    return ["", f"fairness by {fair.column}", *(gaps or ["  no gap between groups is beyond chance"])]


def _front_lines(report: Report) -> list[str]:
    """What could have been released instead, what a readable model costs, and what boards said."""
    lines: list[str] = []
    card = report.card
    if card is not None and len(card.front) > 1:
        shown = [(place, one) for place, one in enumerate(card.front, 1) if place <= SHOWN or one.chosen]
        width, places = max(11, *(len(one.name) for _, one in shown)), len(str(shown[-1][0]))
        lines += [
            "",
            f"the front: less {loss_of(report)}, latency, size and memory (estimated) have their price (* is released, "
            "another by `genba choose`)",
        ]
        lines += [
            f"  {place:>{places}} {'*' if one.chosen else ' '} {one.name:<{width}} {loss_of(report)} {one.loss:<9.4g} "
            f"{one.latency_ms:<6.2g} ms  {one.size_bytes / 1000:>7.3g} kB  {one.memory_bytes / 1e6:>4.3g} MB"
            for place, one in shown
        ]
        lines += [f"  and {len(card.front) - len(shown)} more in card.html"] * (len(card.front) > len(shown))
    if card is not None and card.interpretable is not None:
        readable = card.interpretable
        price = (
            f"{readable.cost_share:.2g} times more" if readable.cost_share >= 1 else f"{readable.cost_share:.1%} more"
        )
        cost = f"{price} than the best" if readable.cost_share > 0 else "the best of all"
        lines += [
            "",
            f"the best model that a person can read whole, {readable.name}: {loss_of(report)} {readable.loss:.4g}, "
            f"{cost}",
        ]
    if report.boards:
        lines += ["", "measured on boards", *(f"  {line}" for line in figures_words(report.boards))]
    return lines


def _decision_lines(manifest: Manifest) -> list[str]:
    """From which probability on a row is answered as the class that raises the alarm."""
    recipe = manifest.lineage.recipe
    return [] if recipe is None or recipe.decision is None else ["", decision_words(recipe.decision)]


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
