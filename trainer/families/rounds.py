"""How many rounds boosted trees keep: as many as do best on all folds together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainer.families.family import Parameters, Rows, Settled, Shape

#: More rounds are never made, and after so many without gain it ends.
MAX_ROUNDS, PATIENCE = 1000, 25
#: Rounds of a model that has no rows to be validated on.
UNTRIED_ROUNDS = 100
#: Share of the loss that the rounds of the patience must gain together.
GAIN = 2e-3
#: With more classes CatBoost takes too long for what it adds to LightGBM.
MANY_CLASSES = 5


class Stall:
    """Told the loss on the validation rows round by round, it knows when going on is not worth its time."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._best: list[float] = []

    def after(self, loss: float) -> bool:
        """Take in one round's loss; whether so many rounds bettered the best by hardly anything."""
        self._best.append(min(loss, self._best[-1]) if self._best else loss)
        if len(self._best) <= self._patience:
            return False
        before = self._best[-1 - self._patience]
        return self._best[-1] >= before - GAIN * abs(before)


class ByRounds:
    """What families of boosted trees have in common.

    Their models have `rounds`, how many count, and `curve`, the loss on the validation rows after 1, 2, ... rounds.
    """

    def prepare(self, parameters: Parameters, learn: Rows, shape: Shape, seed: int) -> Settled:
        return {}

    def settle(self, models: Sequence[Any], settled: Settled) -> tuple[Sequence[Any], Settled]:
        """Keep as many rounds as have the least loss in the mean of the folds; a curve that ended goes on level."""
        told = [one.curve for one in models if len(one.curve)]
        if not told:
            return models, settled
        longest = max(len(curve) for curve in told)
        curves = [np.append(curve, np.full(longest - len(curve), curve.min())) for curve in told]
        rounds = int(np.mean(curves, axis=0).argmin()) + 1
        return [replace(one, rounds=min(rounds, one.rounds)) for one in models], {**settled, "rounds": rounds}


def most_rounds(settled: Settled, validate: Rows | None) -> int:
    """Rounds to make: those that were settled, or so many that the best can be found."""
    return int(settled.get("rounds") or (MAX_ROUNDS if validate is not None else UNTRIED_ROUNDS))


def patience(rate: float) -> int:
    """Rounds without gain after which it ends; small steps need more."""
    return max(PATIENCE, int(2.0 / rate))
