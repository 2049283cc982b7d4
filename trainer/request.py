"""What a training run is asked for."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.manifest import Precision, Task
from protocols.names import check_name
from protocols.recipe import Recipe
from protocols.wishes import TrainingWishes
from trainer.errors import RequestError
from trainer.limits import Costs, Limits, Prefer

if TYPE_CHECKING:
    import pandas as pd

    from trainer.guardrails.order import Validate

#: Shortest budget that leaves room for one model and its proof.
MIN_BUDGET_S = 1.0
#: What a trial of a small table takes.
MIN_MEMORY_BYTES = 128_000_000


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One training run. Equal requests give equal model digests.

    Attributes:
        table: the data, or the path of a CSV, CSV.gz or Parquet file.
        target: the column to predict.
        model: name of the model, as topics carry it.
        task: inferred from the target where None.
        budget_s: seconds for the whole run, about.
        seed: of the split, the search and the models.
        data_name: how people call the data; the file's name where empty.
        data_sha256: digest of the data; computed where empty.
        keep: columns that no guardrail may drop.
        drop: columns to leave out.
        trials: search exactly so many models, whatever the budget; None derives the number from the budget.
        parent: `model@version` that this model should replace.
        group: column whose values name rows that belong together; each group is learned from or held out, never both.
        validate: hold out the newest rows, or rows at random; None lets the checks decide.
        metric: what the search makes best; None: log loss, or root mean squared error.
        costs: of false alarms and misses, from which the threshold of a decision follows.
        limits: of the device; a model beyond them is not chosen.
        prefer: which of the models within the limits is released.
        recipe: release this, with its members tried once more for the card's figures, instead of searching.
        workers: processes at once; None: as many as there are cores.
        memory_bytes: that one trial may take; None: a share of what is free.
        fairness: columns by whose groups the model is judged; they need not be learned from.
        dask: address of a Dask scheduler, or a file that it wrote; trials run there.
        dask_insecure: trials may travel in the clear beyond this machine.
        quantise: precisions that variants of the released model are made in, beside it.
        variant_tolerance: how far their outputs may lie from the model's, in the output's unit; None: by precision.
        anew: forget the trials of a run that was killed.
        latency_limit_ms: longest that one row may take on a device; None asks for nothing.
    """

    table: "pd.DataFrame | Path | str"
    target: str
    model: str
    task: Task | None = None
    budget_s: float = 60.0
    seed: int = 0
    data_name: str = ""
    data_sha256: str = ""
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    trials: int | None = None
    parent: str | None = None
    licence: str | None = None
    author: str | None = None
    latency_limit_ms: float | None = None
    group: str | None = None
    validate: "Validate | None" = None
    metric: str | None = None
    costs: Costs | None = None
    limits: Limits = field(default_factory=Limits)
    prefer: Prefer = "best"
    recipe: Recipe | None = None
    workers: int | None = None
    memory_bytes: int | None = None
    anew: bool = False
    dask: str | None = None
    dask_insecure: bool = False
    fairness: tuple[str, ...] = ()
    quantise: tuple[Precision, ...] = ()
    variant_tolerance: float | None = None

    @property
    def timed(self) -> bool:
        """Whether the clock has a say in what comes out."""
        return self.trials is None and self.recipe is None


def wished(wishes: TrainingWishes) -> dict[str, Any]:
    """Return the keywords of a request for what a person wishes.

    Raises:
        RequestError: of false_alarm_cost and miss_cost one is missing.
    """
    costs = None
    if wishes.false_alarm_cost is not None and wishes.miss_cost is not None:
        costs = Costs(wishes.false_alarm_cost, wishes.miss_cost, wishes.positive)
    elif (wishes.false_alarm_cost, wishes.miss_cost, wishes.positive) != (None, None, None):
        raise RequestError("false_alarm_cost and miss_cost belong together, and positive to both: give both or neither")
    return {
        "metric": wishes.metric,
        "keep": wishes.keep,
        "drop": wishes.drop,
        "group": wishes.group,
        "validate": wishes.validate,
        "costs": costs,
        "limits": Limits(wishes.max_latency_ms, wishes.max_size_bytes, wishes.max_memory_bytes),
        "prefer": wishes.prefer,
        "fairness": wishes.fairness,
        "quantise": wishes.quantise,
        "trials": wishes.trials,
    }


def check_request(request: TrainRequest) -> None:
    """Raise if the request contradicts itself, before any data is read.

    Raises:
        NameRefusedError: the model's name cannot travel.
        RequestError: a number is out of range, or a column is both kept and dropped.
    """
    check_name("model", request.model)
    if not math.isfinite(request.budget_s) or request.budget_s < MIN_BUDGET_S:
        raise RequestError(f"budget {request.budget_s:g} s is too short: give at least {MIN_BUDGET_S:g} s")
    if not 0 <= request.seed < 2**32:
        raise RequestError(f"seed {request.seed} is out of range: give a whole number from 0 to 4294967295")
    if request.task not in (None, "classification", "regression"):
        raise RequestError(f"task {request.task!r} is not supported yet: give classification or regression")
    _check_search(request)
    if request.validate not in (None, "newest", "random"):
        raise RequestError(f"validate {request.validate!r} is not known: give newest or random")
    both = sorted(set(request.keep) & set(request.drop))
    if both:
        raise RequestError(f"column {both[0]!r} is both kept and dropped: give one of --keep and --drop")
    if request.target in request.drop:
        raise RequestError(f"column {request.target!r} is the target, so it cannot be dropped")


def _check_search(request: TrainRequest) -> None:
    for name, number in (("trials", request.trials), ("jobs", request.workers)):
        if number is not None and number < 1:
            raise RequestError(f"{name} {number} is out of range: give at least 1")
    if request.memory_bytes is not None and request.memory_bytes < MIN_MEMORY_BYTES:
        asked = f"{request.memory_bytes / 1e6:g} MB"
        raise RequestError(f"memory {asked} is too little for a trial: give at least {MIN_MEMORY_BYTES / 1e6:g} MB")
    if request.costs is None:
        return
    for what, cost in (("false-alarm", request.costs.false_alarm), ("miss", request.costs.miss)):
        if not (math.isfinite(cost) and cost > 0):
            raise RequestError(f"--{what}-cost {cost:g} is out of range: give a number above 0")
