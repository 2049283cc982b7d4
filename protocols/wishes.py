"""What a person may wish of a training beyond its data: a job's body carries it, and a retraining keeps it."""

from typing import Annotated, Literal

import msgspec

from protocols.manifest import Manifest, Precision, Prefer

Metric = Literal[
    "log_loss", "brier", "accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision", "rmse", "mae"
]
Cost = Annotated[float, msgspec.Meta(gt=0)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0)]
Bytes = Annotated[int, msgspec.Meta(gt=0)]


class TrainingWishes(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """As the options of `genba train` that have these names.

    Attributes:
        metric: what the search makes best.
        keep, drop: columns that no check may leave out, and columns to leave out.
        group: column whose values name rows that belong together.
        validate: hold out the newest rows, or rows at random.
        false_alarm_cost, miss_cost: of mistakes, from which the threshold follows; both or neither.
        positive: the class that raises an alarm; the rarer one if not given.
        max_latency_ms, max_size_bytes, max_memory_bytes: what the device allows.
        prefer: which model within these limits is released.
        fairness: columns by whose groups the model is judged.
        quantise: precisions that variants are made in.
        trials: exactly so many, whatever the budget.
    """

    metric: Metric | None = None
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    group: str | None = None
    validate: Literal["newest", "random"] | None = None
    false_alarm_cost: Cost | None = None
    miss_cost: Cost | None = None
    positive: str | None = None
    max_latency_ms: Milliseconds | None = None
    max_size_bytes: Bytes | None = None
    max_memory_bytes: Bytes | None = None
    prefer: Prefer = "best"
    fairness: tuple[str, ...] = ()
    quantise: tuple[Precision, ...] = ()
    trials: Annotated[int, msgspec.Meta(ge=1, le=2000)] | None = None


def wishes_of(manifest: Manifest) -> TrainingWishes:
    """Return what was wished of a release when it was trained."""
    lineage = manifest.lineage
    decision = None if lineage.recipe is None else lineage.recipe.decision
    if decision is not None and decision.metric:  # nobody named costs
        decision = None
    limits = lineage.limits_asked
    return TrainingWishes(
        metric=lineage.metric_asked,  # type: ignore[arg-type]  # a manifest keeps names that a newer Genba may have
        keep=lineage.keep,
        drop=lineage.drop,
        group=lineage.group,
        validate=lineage.validate,
        false_alarm_cost=None if decision is None else decision.false_alarm_cost,
        miss_cost=None if decision is None else decision.miss_cost,
        positive=None if decision is None else decision.positive,
        max_latency_ms=None if limits is None else limits.latency_ms,
        max_size_bytes=None if limits is None else limits.size_bytes,
        max_memory_bytes=None if limits is None else limits.memory_bytes,
        prefer=lineage.prefer_asked,
        fairness=lineage.fairness,
        quantise=lineage.quantise_asked or tuple(manifest.variants),
        trials=lineage.trials_asked,
    )
