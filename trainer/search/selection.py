"""From the front to a recipe: calibrated and with its threshold, and what it would do on the rows held out."""

from dataclasses import dataclass, replace

import numpy as np

from protocols.recipe import Decision, Member, Recipe
from trainer.families import FAMILIES
from trainer.graph.encoded import Array
from trainer.limits import Costs
from trainer.metrics import METRICS, rarer
from trainer.search.calibration import apply_temperature, fit_temperature
from trainer.search.ensembling import mean_output
from trainer.search.front import Choice
from trainer.targets import Target
from trainer.thresholds import best_threshold


@dataclass(frozen=True, slots=True)
class Selected:
    """A recipe, and what models that had not seen the rows held out give for them.

    Attributes:
        held_out: probabilities (rows, classes), or predictions (rows,).
    """

    recipe: Recipe
    held_out: Array

    def answers(self, target: Target) -> Array | None:
        """Return the label of each row held out, shape (rows,), as the graph would; None for a regression."""
        if not target.classes:
            return None
        decision = self.recipe.decision
        places = self.held_out.argmax(axis=1)
        if decision is not None:
            positive = target.classes.index(decision.positive)
            places = np.where(self.held_out[:, positive] >= decision.threshold, positive, 1 - positive)
        return np.asarray(np.unique(target.values)[places])


def select(
    choice: Choice,
    truth: Array,
    classes: tuple[str, ...],
    costs: Costs | None,
    drawn: int | None,
    metric: str | None = None,
) -> Selected:
    """Calibrate a choice and choose its threshold, both on rows not learned from.

    Args:
        truth: of the rows to validate on.
        classes: empty for a regression.
        drawn: rows that the search was limited to.
        metric: that was asked for.
    """
    members = tuple(
        Member(
            one.family,
            one.parameters,
            one.settled,
            float(f"{weight:.6g}"),
            tuple(range(choice.fits if FAMILIES[one.family].several_fits else 1)),
        )
        for one, weight in zip(choice.members, choice.weights, strict=True)
    )
    if not classes:
        return Selected(Recipe(members, drawn), choice.held_out()[:, 0])
    seen = choice.seen()
    temperature = fit_temperature(seen, truth)
    held_out = apply_temperature(choice.held_out(), temperature) if temperature != 1.0 else choice.held_out()
    warm = apply_temperature(seen, temperature) if temperature != 1.0 else seen
    decision = _decision(warm, np.asarray(truth), classes, costs, metric)
    return Selected(Recipe(members, drawn, temperature=temperature, decision=decision), held_out)


def _decision(
    probabilities: Array, truth: Array, classes: tuple[str, ...], costs: Costs | None, metric: str | None
) -> Decision | None:
    """The threshold at which mistakes cost least, or the metric is best; None: the likeliest class is answered."""
    mistakes = METRICS[metric].mistakes if metric is not None and len(classes) == 2 else None
    loss = mistakes if costs is None else costs.a_row
    if loss is None:
        return None
    place = rarer(truth.astype(np.int64))
    if costs is not None and costs.positive is not None:
        place = classes.index(costs.positive)
    threshold, _ = best_threshold(probabilities[:, place], truth == place, loss)
    if costs is None:
        return Decision(classes[place], threshold, metric=metric or "")
    return Decision(classes[place], threshold, costs.false_alarm, costs.miss)


def of_fitted(selected: Selected, choice: Choice, recipe: Recipe) -> Selected:
    """Return what was selected as it came to be: where the time ended before some members were fitted, without them.

    Args:
        recipe: what was fitted; its members are some of the choice's, in their order.
    """
    if len(recipe.members) == len(choice.members):
        return selected
    left = list(zip(choice.members, choice.weights, strict=True))
    kept = []
    for member in recipe.members:
        while (left[0][0].family, left[0][0].parameters) != (member.family, member.parameters):
            left.pop(0)
        kept.append(left.pop(0))
    weights = np.array([weight for _, weight in kept])
    held_out = mean_output([one.held_out for one, _ in kept], weights / weights.sum())
    if held_out.shape[1] == 1:
        return replace(selected, held_out=held_out[:, 0])
    warm = held_out if recipe.temperature == 1.0 else apply_temperature(held_out, recipe.temperature)
    return replace(selected, held_out=warm)
