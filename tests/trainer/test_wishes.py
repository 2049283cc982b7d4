"""What was wished of a training is found again in its release, for the next one."""

from typing import get_args

import msgspec
import pytest
from simulators.candidates import manifest_of

from protocols.manifest import LimitsAsked
from protocols.recipe import Decision, Member, Recipe
from protocols.wishes import Metric, TrainingWishes, wishes_of
from trainer.errors import RequestError
from trainer.limits import Costs, Limits
from trainer.metrics import METRICS
from trainer.request import TrainRequest, wished


def test_every_metric_of_the_trainer_may_be_wished() -> None:
    assert set(get_args(Metric)) == set(METRICS)


def test_wishes_are_those_of_the_lineage_and_its_recipe() -> None:
    manifest = manifest_of({})
    lineage = msgspec.structs.replace(
        manifest.lineage,
        metric_asked="roc_auc",
        keep=("a",),
        drop=("id",),
        group="batch",
        validate="random",
        fairness=("line",),
        trials_asked=7,
        limits_asked=LimitsAsked(2.0, 500_000, None),
        prefer_asked="fastest",
        recipe=Recipe((Member("linear", {}, {}, 1.0, (0,)),), decision=Decision("yes", 0.2, 1.0, 20.0)),
    )
    found = wishes_of(msgspec.structs.replace(manifest, lineage=lineage))
    assert found == TrainingWishes(
        metric="roc_auc",
        keep=("a",),
        drop=("id",),
        group="batch",
        validate="random",
        false_alarm_cost=1.0,
        miss_cost=20.0,
        positive="yes",
        max_latency_ms=2.0,
        max_size_bytes=500_000,
        prefer="fastest",
        fairness=("line",),
        trials=7,
    )
    request = TrainRequest("table.csv", "b", "line4", **wished(found))
    assert (request.costs, request.limits) == (Costs(1.0, 20.0, "yes"), Limits(2.0, 500_000, None))
    assert wishes_of(manifest) == TrainingWishes()


def test_one_cost_alone_is_refused() -> None:
    with pytest.raises(RequestError, match="belong together"):
        wished(TrainingWishes(miss_cost=3.0))


def test_a_threshold_that_a_metric_chose_is_no_wish_for_costs() -> None:
    manifest = manifest_of({})
    recipe = Recipe((Member("linear", {}, {}, 1.0, (0,)),), decision=Decision("yes", 0.2, metric="f1"))
    lineage = msgspec.structs.replace(manifest.lineage, metric_asked="f1", recipe=recipe)
    assert wishes_of(msgspec.structs.replace(manifest, lineage=lineage)) == TrainingWishes(metric="f1")


def test_a_threshold_of_an_older_release_is_read() -> None:
    """Before, costs alone chose it, and an older reader finds both in what is written now."""
    old = b'{"positive":"yes","threshold":0.2,"false_alarm_cost":1.0,"miss_cost":20.0}'
    assert msgspec.json.decode(old, type=Decision) == Decision("yes", 0.2, 1.0, 20.0)
    written = msgspec.json.decode(msgspec.json.encode(Decision("yes", 0.2, metric="f1")))
    assert {"false_alarm_cost", "miss_cost"} < written.keys()
