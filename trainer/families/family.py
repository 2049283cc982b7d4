"""The interface of model families: what the search tries, fits, and takes apart for the graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from protocols.manifest import Task
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import Piece

Parameters = dict[str, str | int | float | bool | None]
#: What a family found out while it was tried, such as the number of rounds, and is to use again.
Settled = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table is like, for what is worth trying on it. `classes` is 0 for a regression."""

    task: Task
    rows: int
    columns: int
    classes: int

    @property
    def outputs(self) -> int:
        return max(self.classes, 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to learn from or to validate on.

    Attributes:
        matrix: float32, shape (rows, width).
        target: float64, or places among the classes; shape (rows,).
    """

    matrix: Array
    target: Array

    def __len__(self) -> int:
        return len(self.target)


class Model(Protocol):
    """A fitted model."""

    def predict(self, matrix: Array) -> Array:
        """Return probabilities (rows, classes), or predictions (rows, 1)."""

    def piece(self) -> Piece:
        """Return what it computes."""


class Family(Protocol):
    """One kind of model.

    Attributes:
        name: as reports call it.
        matrix: what it learns from.
        simplicity: how hard it is to see through, and how much there is of it; the lesser wins ties.
        several_fits: the mean of several fits, each from another seed, is better than one.
    """

    name: str
    matrix: MatrixKind
    simplicity: int
    several_fits: bool

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        """Return the settings that are tried first, the best known first; none where the family does not suit."""

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        """Draw settings from an Optuna trial."""

    def prepare(self, parameters: Parameters, learn: Rows, shape: Shape, seed: int) -> Settled:
        """Find out once, from some rows, what all fits of a trial share."""

    def fit(
        self,
        parameters: Parameters,
        settled: Settled,
        learn: Rows,
        validate: Rows | None,
        shape: Shape,
        seed: int,
    ) -> Any:
        """Fit on rows that hold every class. Where a family stops early it does so by the rows to validate on."""

    def settle(self, models: Sequence[Any], settled: Settled) -> tuple[Sequence[Model], Settled]:
        """Given the models of all folds, decide what they are to have in common, and return them so."""


class Plain:
    """What families have in common that share nothing among their fits."""

    def prepare(self, parameters: Parameters, learn: Rows, shape: Shape, seed: int) -> Settled:
        return {}

    def settle(self, models: Sequence[Any], settled: Settled) -> tuple[Sequence[Model], Settled]:
        return models, settled
