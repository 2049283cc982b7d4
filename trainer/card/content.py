"""What a card says, in words, tables and plots; how it looks is up to `page` and `markdown`."""

from collections.abc import Iterator, Sequence

from protocols.card import Card
from protocols.manifest import Manifest
from protocols.recipe import Decision
from trainer.card.blocks import Section, Table
from trainer.card.drivers import drivers, effect_words
from trainer.card.judgement import fair, otherwise, quality, rivals, weak_spots
from trainer.guardrails.rail import Guardrail

__all__ = ["decision_words", "effect_words", "sections"]

#: Inputs that are listed; a wide table has thousands.
SHOWN = 20


def sections(manifest: Manifest, guardrails: Sequence[Guardrail], card: Card) -> list[Section]:
    """Return a card's sections, in the order in which a reader needs them."""
    return [
        Section("What it predicts", tuple(_purpose(manifest, card))),
        Section("How good it is", tuple(quality(manifest, card))),
        Section(f"What drives {manifest.target}", tuple(drivers(manifest, card))),
        *([Section("What would change an answer", tuple(otherwise(card.otherwise)))] if card.otherwise else []),
        Section("Where it is worst", tuple(weak_spots(manifest, card))),
        *([Section("Does it serve every group alike?", tuple(fair(manifest, card)))] if card.fairness else []),
        *([Section("What else could have been chosen", tuple(rivals(manifest, card)))] if _has_rivals(card) else []),
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
    if manifest.lineage.recipe is not None and manifest.lineage.recipe.decision is not None:
        yield f"It {decision_words(manifest.lineage.recipe.decision)}."
    rows = []
    for spec in manifest.inputs[:SHOWN]:
        seen = ", ".join((spec.categories or ())[:8])
        if spec.low is not None and spec.high is not None:
            seen = f"{spec.low:.4g} to {spec.high:.4g}"
        rows.append((spec.name, spec.unit or "", seen))
    yield Table(("Input", "Unit", "Seen in training"), tuple(rows))
    if len(manifest.inputs) > SHOWN:
        yield f"And {len(manifest.inputs) - SHOWN} more inputs."


def decision_words(decision: Decision) -> str:
    """Say from where on the alarm is raised, and why there."""
    why = (
        f"{decision.metric} is best so on the rows to validate on"
        if decision.metric
        else f"a miss costs {decision.miss_cost:g} and a false alarm {decision.false_alarm_cost:g}, and on the rows to "
        "validate on mistakes cost least so"
    )
    return f"answers {decision.positive!r} from a probability of {decision.threshold:.3g} on: {why}"


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
        f"99th percentile on {footprint.measured_on}; loading and serving it takes "
        f"{footprint.memory_bytes / 1e6:.3g} MB of memory. "
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
    if manifest.classes and card.segments:
        yield "In the segments above it errs more than elsewhere: let a person decide there."
    yield "It says what goes with what in the table, not what causes what."


def _has_rivals(card: Card) -> bool:
    return card.interpretable is not None or bool(card.front) or bool(card.shapes)
