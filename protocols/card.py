"""The model card's figures: what a release does and how well, as data that registry and trainer each show in their way.

They travel in `report.json`. Every text in them comes from the publisher's table, so whoever shows them escapes them.
"""

from typing import Literal

import msgspec


class Curve(msgspec.Struct, frozen=True):
    """Partial dependence: the mean of an output while one input takes each of these values, the others as they are.

    `at` are numbers within the range seen, categories, or parts of the day, week or year; `means` are of the output
    that `of` names.
    """

    feature: str
    of: str
    at: tuple[float | str, ...]
    means: tuple[float, ...]


class Effect(msgspec.Struct, frozen=True):
    """What moving one input does: a number from its 10th to its 90th percentile, a category from the value with the
    lowest mean output to that with the highest, a point in time likewise between parts of the day, week or year; the
    other inputs stay as they are."""

    feature: str
    of: str
    start: float | str
    end: float | str
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


class Bin(msgspec.Struct, frozen=True):
    """Held-out rows with similar predictions: their mean prediction and what was observed in the mean."""

    predicted: float
    observed: float
    rows: int


class Segment(msgspec.Struct, frozen=True):
    """Held-out rows that satisfy `where`, and the metric on them.

    `chance`: how often the worst of all parts that were looked at would be as bad, if errors fell on rows at random.
    """

    where: str
    rows: int
    value: float
    chance: float | None = None


class Confusion(msgspec.Struct, frozen=True):
    """Held-out rows by what they are (lines) and what is answered (columns), both in the order of `classes`."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Operating(msgspec.Struct, frozen=True):
    """What answering with the class in question from a probability on would do on held-out rows.

    `hits`: share of the class that is found; `false_alarms`: share of the others that is taken for it; `precision`:
    share of such answers that is right.
    """

    threshold: float
    hits: float
    false_alarms: float
    precision: float


class Histogram(msgspec.Struct, frozen=True):
    """Counts of held-out rows between edges, one more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Together(msgspec.Struct, frozen=True):
    """Inputs that move together, and the mean absolute contribution of all of them at once.

    `error` is half of its 95 % interval.
    """

    features: tuple[str, ...]
    value: float
    error: float | None = None


class Correlation(msgspec.Struct, frozen=True):
    """Two inputs that move together (rank correlation): a model cannot tell which of them is the cause."""

    feature: str
    other: str
    value: float


class Baseline(msgspec.Struct, frozen=True):
    """What the simplest answer would reach on the same held-out rows."""

    kind: Literal["mean", "shares"]
    metrics: dict[str, float]


class Rate(msgspec.Struct, frozen=True):
    """A share or a mean with its 95 % interval."""

    value: float
    low: float
    high: float


class GroupFigures(msgspec.Struct, frozen=True):
    """How a model does for the held-out rows of one group.

    Attributes:
        group: the value that they have in the column.
        metric: the metric that decides, on these rows.
        selected: share of them that is answered with the class in question; of two classes alone.
        false_alarms: share of that answer where the class is another; of two classes alone.
        misses: share of other answers where the class is that one; of two classes alone.
        wrong: share of wrong answers, of a classifier.
        mean_error: prediction less truth in the mean, of a regression.
    """

    group: str
    rows: int
    metric: float
    selected: Rate | None = None
    false_alarms: Rate | None = None
    misses: Rate | None = None
    wrong: Rate | None = None
    mean_error: Rate | None = None


class Gap(msgspec.Struct, frozen=True):
    """The largest difference of one figure between two groups; its interval allows for all pairs that were compared."""

    figure: str
    most: str
    least: str
    difference: Rate

    @property
    def beyond_chance(self) -> bool:
        return self.difference.low > 0


class Fairness(msgspec.Struct, frozen=True):
    """The groups of one column. `of`: the class in question, of two: the one that raises the alarm where costs of
    mistakes were given, else the rarer one. `left_out`: rows of groups too small."""

    column: str
    groups: tuple[GroupFigures, ...]
    gaps: tuple[Gap, ...]
    of: str | None = None
    left_out: int = 0


class Change(msgspec.Struct, frozen=True):
    """One input of a row, as it is and as it would have to be; `before` is None where it is missing."""

    feature: str
    before: float | str | None
    after: float | str


class Alternative(msgspec.Struct, frozen=True):
    """Changes of one row, within the ranges seen, with which the model answers otherwise.

    Attributes:
        answer: what it answers then: the class, or the number as text.
        reached: the prediction, or the probability of the class that was asked for.
        unusual: no row that is known lies near the changed one, so the answer is a guess; None: not known.
    """

    changes: tuple[Change, ...]
    answer: str
    reached: float
    unusual: bool | None = None


class Otherwise(msgspec.Struct, frozen=True):
    """What would have to change for one held-out row to come out otherwise, as an example.

    Attributes:
        answer, reached: what the model answers for the row as it is.
        wanted: the other answer, in words.
        closest: the nearest that the allowed changes come to it, where there is no alternative.
    """

    answer: str
    reached: float
    wanted: str
    alternatives: tuple[Alternative, ...]
    closest: float | None = None


class Interpretable(msgspec.Struct, frozen=True):
    """The best model that a person can read whole, beside the best of all, by the metric that decides: less is better.

    `cost_share` is what reading it costs: how much larger its loss is, as a share of the best one.
    """

    name: str
    loss: float
    best_loss: float
    cost_share: float


class Front(msgspec.Struct, frozen=True):
    """One model on the Pareto front of the search: none other was better in each of these figures."""

    name: str
    loss: float
    latency_ms: float
    size_bytes: int
    memory_bytes: int
    chosen: bool = False


class Card(msgspec.Struct, frozen=True):
    """All figures of a card that a manifest does not hold.

    Attributes:
        operating: for the class that `calibrated` names, of two, from the highest threshold to the lowest.
        segments: where it is worst; empty: nowhere by more than chance, None: not looked at, since the time ran out.
        residuals: predictions less true values, of a regression.
        groups: of correlated inputs, the most important first.
        ties: neighbours in the ranking of importance whose order is within the error of the sample.
        otherwise: an example of what would have to change for another answer.
        shapes: what the interpretable model makes of its inputs.
        cut_short: the time ended before every curve was made.
        undrawn: important points in time that have no effect here: no two parts of a day, week or year were seen.
        loss_name: what the search made small, of which the losses of `interpretable` and `front` are; empty: the
            manifest's metric.
    """

    held_out: int
    baseline: Baseline
    calibrated: str
    calibration: tuple[Bin, ...] = ()
    curves: tuple[Curve, ...] = ()
    effects: tuple[Effect, ...] = ()
    segments: tuple[Segment, ...] | None = ()
    correlations: tuple[Correlation, ...] = ()
    cut_short: bool = False
    confusion: Confusion | None = None
    operating: tuple[Operating, ...] = ()
    residuals: Histogram | None = None
    groups: tuple[Together, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()
    otherwise: Otherwise | None = None
    fairness: tuple[Fairness, ...] = ()
    interpretable: Interpretable | None = None
    shapes: tuple[Curve, ...] = ()
    front: tuple[Front, ...] = ()
    loss_name: str = ""
    undrawn: tuple[str, ...] = ()
