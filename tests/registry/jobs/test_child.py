"""Training and retraining for real, on the power plant: each job in its process, as the worker starts it."""

import gzip
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.errors import GenbaError
from protocols.feeding import Window
from protocols.manifest import LimitsAsked, TensorSpec
from protocols.names import ReleaseRef
from protocols.recipe import Decision, Member, Recipe
from protocols.reference import decode_reference
from protocols.wishes import TrainingWishes, wishes_of
from registry.assigning import assign
from registry.blobs import Blobs
from registry.errors import NothingWaitsError, RequestRefusedError
from registry.jobs.report import Failure, Progress, Result, decode_report
from registry.monitoring.policy import Policy
from registry.promotion import release_waiting
from registry.publication import publish

ROOT = Path(__file__).parents[3]
CCPP = ROOT.parent / "shared" / "data" / "ccpp" / "ccpp.csv.gz"
WISHES = TrainingWishes(metric="mae", max_size_bytes=20_000_000, prefer="smallest")


@pytest.fixture(scope="module")
def plant():
    """The plant's rows from cool to warm."""
    if not CCPP.exists():
        pytest.skip(f"{CCPP} is not on this machine")
    with gzip.open(CCPP) as file:
        return pd.read_csv(file).sort_values("AT", kind="stable").reset_index(drop=True)


@pytest.fixture
def run_process(home, catalogue):
    """Do a job in a process of its own, as the worker does, and return its last report and those before it."""

    def do(kind, **parameters):
        job = claimed(catalogue, kind, parameters)
        command = [sys.executable, "-m", "registry.jobs.child", "--home", str(home), "--job", str(job.id)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, env=environment, timeout=100, check=False)
        reports = [decode_report(line) for line in done.stdout.splitlines()]
        assert None not in reports, done.stdout
        assert reports, done.stderr.decode()
        return reports[-1], reports[:-1]

    return do


@pytest.fixture
def run(home, catalogue):
    """Do a job here and return its result: a process takes seconds to load what training needs."""
    child = pytest.importorskip("registry.jobs.child")

    def do(kind, **parameters):
        task = child.Task(home, claimed(catalogue, kind, parameters), lambda text, fraction: None)
        return task.run()

    return do


def claimed(catalogue, kind, parameters):
    number = catalogue.jobs.add(kind, parameters, "asked for")
    job = catalogue.jobs.claim("worker")
    catalogue.jobs.finish(number, {})
    assert job.id == number
    return job


def csv(table):
    buffer = io.BytesIO()
    table.to_csv(buffer, index=False)
    return buffer.getvalue()


def left_waiting(home, run):
    """Retrain; return the result, and the number of the job whose candidate waits for a person."""
    found = run("retrain", model="ccpp", budget_s=3)
    [waits] = (home / "candidates").iterdir()
    number = int(waits.name.removeprefix("job-"))
    assert f"`genba publish --job {number}` releases it" in found["reason"]
    return found, number


def cut_off_after_it_had_published(home, catalogue, first, stream):
    """Do the last retraining again as if it had been cut off: it goes on from there, and publishes no second time."""
    child, job = pytest.importorskip("registry.jobs.child"), catalogue.jobs.list(kind="retrain", model="ccpp")[0]
    catalogue.models.set_champion(first)
    before = AssignedRelease("ccpp", 1)
    assign(home, catalogue, Assignment("press-7", 0, (before,), (stream,), 3.0), time.time)
    again = child.Task(home, job, lambda text, fraction: None).run()
    assert (again["release"], again["devices"]) == ("ccpp@2", ["press-7"])
    assert [release.version for release in catalogue.releases.list("ccpp")] == [2, 1]
    assert catalogue.models.champion("ccpp") == ReleaseRef("ccpp", 2)
    promoted = catalogue.assignments.get("press-7")
    assert promoted.releases == (AssignedRelease("ccpp", 2),)
    assert child.Task(home, job, lambda text, fraction: None).run()["devices"] == ["press-7"]
    assert catalogue.assignments.get("press-7") == promoted


def test_the_loop_of_training_and_challenge(home, catalogue, run_process, run, plant):
    cool, warm = plant.iloc[:4000].sample(800, random_state=7), plant.iloc[7000:].sample(800, random_state=7)
    data = catalogue.datasets.add("ccpp.csv", csv(cool))

    sent = {"budget_s": 3, "seed": 7, "wishes": msgspec.to_builtins(WISHES)}
    last, progress = run_process("train", model="ccpp", dataset=data, target="PE", **sent)
    assert isinstance(last, Result), last
    assert (last.result["release"], last.result["metric"]) == ("ccpp@1", "rmse")
    assert {"train", "publish", "all"} <= set(last.result["seconds"])
    fractions = [report.fraction for report in progress if isinstance(report, Progress)]
    assert fractions == sorted(fractions)
    first = catalogue.releases.get(ReleaseRef("ccpp", 1))
    assert (first.digest, first.manifest.lineage.data_sha256) == (last.result["digest"], data)
    assert wishes_of(first.manifest) == WISHES
    assert catalogue.models.champion("ccpp") == first.ref
    catalogue.devices.add("press-7", "osaka", "x86", "certificate", "1")
    stream = StreamBinding("main", "ccpp", "line/1", "line/1/out", {"AT": "$.at"})
    assign(home, catalogue, Assignment("press-7", 0, (AssignedRelease("ccpp", 1),), (stream,), 3.0), time.time)

    # Summer: the challenger has seen it, the champion has not.
    rows = warm.assign(key=range(len(warm))).to_dict("records")
    catalogue.rows.append("ccpp", rows, time.time())
    catalogue.policies.set("ccpp", Policy(budget_s=3, auto_release=False))
    found, number = left_waiting(home, run)
    assert (found["release"], catalogue.models.champion("ccpp")) == (None, first.ref), "a person decides"

    catalogue.policies.set("ccpp", Policy(budget_s=3))
    found = run("retrain", model="ccpp", budget_s=3)
    assert found["release"] == "ccpp@2"
    assert found["challenger"] < found["champion"] * 0.8
    assert (found["holdout_rows"], found["devices"]) == (240, ["press-7"])
    second = catalogue.releases.get(ReleaseRef("ccpp", 2)).manifest
    assert (second.lineage.parent, second.lineage.rows) == ("ccpp@1", 800 + 560)
    assert wishes_of(second) == msgspec.structs.replace(WISHES, keep=("AT", "V", "AP", "RH"))
    assert catalogue.datasets.get(second.lineage.data_sha256).exists()
    assert [spec.name for spec in second.inputs] == [spec.name for spec in first.manifest.inputs]
    assert catalogue.models.champion("ccpp") == second.release
    promoted = catalogue.assignments.get("press-7")
    assert promoted.releases == (AssignedRelease("ccpp", 2),)
    assert (promoted.streams, promoted.window_s) == ((stream,), 3.0)
    assert "champion-changed" in {event.kind for event in catalogue.events.list(model="ccpp")}

    cut_off_after_it_had_published(home, catalogue, first.ref, stream)
    promoted = catalogue.assignments.get("press-7")

    # What is normal now is what the challenger was chosen on: summer, not the mixture that it learned from.
    profile = decode_reference(Blobs(home).path(second.files["reference"].sha256).read_bytes())
    assert profile.rows == 240
    assert profile.numeric["AT"].mean == pytest.approx(warm["AT"].tail(240).mean(), rel=1e-3)
    assert profile.outputs["prediction"].mean == pytest.approx(warm["PE"].tail(240).mean(), rel=0.02)

    # What waited had beaten another champion.
    with pytest.raises(NothingWaitsError, match="its candidate beat ccpp@1, and the champion is ccpp@2"):
        release_waiting(home, catalogue, number, time.time, "anna")

    # No news: the next challenger learns what the champion knows, and is not released.
    found = run("retrain", model="ccpp", budget_s=2)
    assert found["release"] is None
    assert found["reason"]
    assert catalogue.models.champion("ccpp") == second.release
    assert catalogue.assignments.get("press-7") == promoted
    assert catalogue.events.list(model="ccpp")[0].kind == "challenger-kept-back"


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("train", {"model": "ccpp", "dataset": "0" * 64, "target": "PE"}, "is not known"),
        ("train", {"model": "ccpp", "dataset": "data", "target": "XX"}, "'XX'"),
        ("paint", {"model": "ccpp"}, "'paint' is not one of train, retrain"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(catalogue, run, plant, kind, parameters, words):
    if parameters.get("dataset") == "data":
        parameters = {**parameters, "dataset": catalogue.datasets.add("ccpp.csv", csv(plant.head(300)))}
    with pytest.raises(GenbaError) as caught:
        run(kind, **parameters)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_champion_that_takes_windows_is_not_trained_here(home, catalogue, run, make_candidate):
    columns = tuple(TensorSpec(name, "float32") for name in ("AT", "V"))
    found = publish(home, catalogue, make_candidate(v=2, feeding=Window("x", 24), inputs=columns), time.time)
    catalogue.models.set_champion(found.release)
    with pytest.raises(RequestRefusedError, match="ccpp@1 takes windows, images or state, not rows; import the better"):
        run("retrain", model="ccpp")


def test_a_job_process_that_fails_says_why(run_process):
    last, _ = run_process("retrain", model="ccpp")
    assert isinstance(last, Failure)
    assert "has no champion to challenge" in last.reason


def test_a_retraining_keeps_what_still_can_be_wished(make_candidate, tmp_path):
    child = pytest.importorskip("registry.jobs.child")
    manifest = child.read_candidate(make_candidate())
    lineage = msgspec.structs.replace(
        manifest.lineage,
        metric_asked="roc_auc",
        group="batch",
        validate="newest",
        fairness=("AT", "line"),
        trials_asked=9,
        limits_asked=LimitsAsked(2.0, 500_000, 64_000_000),
        quantise_asked=("int8",),
        recipe=Recipe((Member("linear", {}, {}, 1.0, (0,)),), decision=Decision("yes", 0.2, 1.0, 20.0)),
    )
    champion = msgspec.structs.replace(manifest, lineage=lineage)
    two = pd.DataFrame({manifest.target: ["yes", "no", None, "no"]})
    kept = child._wishes(champion, two)
    assert kept == TrainingWishes(
        metric="roc_auc",
        keep=tuple(spec.name for spec in manifest.inputs),
        false_alarm_cost=1.0,
        miss_cost=20.0,
        positive="yes",
        max_size_bytes=500_000,
        fairness=("AT",),
        quantise=("int8",),
    )
    three = pd.DataFrame({manifest.target: ["yes", "no", "perhaps"]})
    without = msgspec.structs.replace(kept, false_alarm_cost=None, miss_cost=None, positive=None)
    assert child._wishes(champion, three) == without
