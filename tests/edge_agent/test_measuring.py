"""Measuring jobs on a real agent behind a real broker: figures come home, serving goes on, nothing unsigned runs."""

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from simulators.agent_home import make_home
from simulators.agent_process import Agent, assign, published
from simulators.home_fetcher import HomeFetcher
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import crashing_regression, regression, slow_regression, write_release

from edge_agent.errors import HomeError, ReleaseRefusedError, TrustError
from edge_agent.settings import AgentHome
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.status import read_status
from edge_agent.verification import Verifier
from protocols.measuring import Measured, read_measured
from protocols.names import ReleaseRef
from registry.delivery import Source

CCPP1 = ReleaseRef("ccpp", 1)


@pytest.fixture
def home(tmp_path: Path, signed: SignedReleases, broker) -> AgentHome:
    return make_home(tmp_path / "agent", signed, broker.url, measure=True)


HANGS = {
    "model": slow_regression(),
    "golden_by": regression(),
    "columns": [np.full((1, 1), 1.0, np.float32), np.full((1, 1), 1e12, np.float32)],
}
CRASHES = {"model": crashing_regression(), "golden_by": regression()}


def graph(tmp_path: Path, model: onnx.ModelProto | None = None, **more: Any) -> Path:
    folder = tmp_path / f"graph-{len(list(tmp_path.iterdir()))}"
    write_release(folder, model=model, **more)
    return folder


def answers(side: RegistrySide) -> dict[int, Measured]:
    """Job -> what came home of it."""
    found = [read_measured(event.detail) for event in side.events.values() if event.kind == "measured"]
    return {one.job: one for one in found}


def answer(side: RegistrySide, number: int, timeout_s: float = 40.0) -> Measured:
    return side.wait_for(lambda: answers(side).get(number), timeout_s)


def wait_until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_figures_of_this_machine_come_home_and_nothing_is_left(tmp_path, signed, registry_side, home, agent):
    signed.measure("press-1", 7, graph(tmp_path))
    registry_side.nudge_measuring("osaka", "press-1", 7)
    figures = answer(registry_side, 7).figures
    assert (figures.outcome, figures.provider, figures.rows) == ("measured", "CPUExecutionProvider", 16)
    assert 0 < figures.latency_p50_ms <= figures.latency_p99_ms
    assert figures.largest_difference <= 1e-4
    assert figures.size_bytes == (signed.home / "measurements/7/model.onnx").stat().st_size
    assert registry_side.statuses[-1].measures
    wait_until(lambda: not home.measuring.exists())
    wait_until(lambda: registry_side.statuses[-1].measuring is None and not _step(home))
    assert list(home.releases.iterdir()) == []


def test_a_line_is_served_meanwhile_and_loses_nothing(tmp_path, signed, registry_side, home, agent, line):
    published(signed, tmp_path, CCPP1)
    assign(signed, registry_side, CCPP1)
    registry_side.wait_for(
        lambda: registry_side.statuses and any(row.version for row in registry_side.statuses[-1].streams), 30
    )
    signed.measure("press-1", 3, graph(tmp_path, regression((5.0, 1.0))))
    registry_side.nudge_measuring("osaka", "press-1", 3)
    sent = 0
    while 3 not in answers(registry_side):
        line.send({"AT": 1.0, "V": 2.0, "id": sent})
        sent += 1
        time.sleep(0.01)
        assert sent < 6000
    wait_until(lambda: len(line.predictions) == sent)
    assert {prediction["prediction"] for found in line.predictions.values() for prediction in found} == {10.0}
    assert answers(registry_side)[3].figures.measured


@pytest.mark.parametrize(("release", "check"), [(CRASHES, "load"), (HANGS, "time")], ids=["crash", "hang"])
def test_a_graph_that_kills_or_hangs_is_a_report_and_the_agent_lives(
    tmp_path, signed, registry_side, home, agent, release, check
):
    signed.measure("press-1", 1, graph(tmp_path, **release), seconds=4.0)
    signed.measure("press-1", 2, graph(tmp_path))
    registry_side.nudge_measuring("osaka", "press-1", 2)
    refused = answer(registry_side, 1).figures
    assert (refused.outcome, refused.check) == ("refused", check), refused.reason
    assert answer(registry_side, 2).figures.measured
    assert agent.process.poll() is None


def test_a_graph_whose_golden_vectors_do_not_hold_gives_no_figures(tmp_path, signed, registry_side, home, agent):
    signed.measure("press-1", 1, graph(tmp_path, spoil=lambda outputs: outputs[0].__iadd__(1)))
    registry_side.nudge_measuring("osaka", "press-1", 1)
    figures = answer(registry_side, 1).figures
    assert (figures.outcome, figures.check, figures.latency_p50_ms) == ("refused", "golden", None)
    assert "expected" in figures.reason


def test_a_job_that_is_heard_of_again_is_not_measured_again(tmp_path, signed, registry_side, home):
    first = Agent(home)
    try:
        signed.measure("press-1", 4, graph(tmp_path))
        registry_side.nudge_measuring("osaka", "press-1", 4)
        answer(registry_side, 4)
        wait_until(lambda: home.measured.exists() and b'"done":4' in home.measured.read_bytes())
        first.stop()
        second = Agent(home)  # the nudge is retained, and the director still signs the job
        signed.measure("press-1", 5, graph(tmp_path))
        registry_side.nudge_measuring("osaka", "press-1", 5)
        answer(registry_side, 5)
        second.stop()
        second.close()
    finally:
        first.close()
    assert [event.kind for event in registry_side.events.values()].count("measured") == 2


def test_a_kill_in_the_middle_leaves_nothing_behind_and_is_not_tried_for_ever(tmp_path, signed, registry_side, home):
    signed.measure("press-1", 9, graph(tmp_path, **HANGS))
    registry_side.nudge_measuring("osaka", "press-1", 9)
    for _ in range(2):
        agent = Agent(home)
        try:
            wait_until(lambda: _step(home) == "measuring" and _children(agent.process.pid), 40)  # noqa: B023
            children = _children(agent.process.pid)
            agent.stop(signal.SIGKILL)
            wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))  # noqa: B023
        finally:
            agent.close()
        home.status.unlink(missing_ok=True)
    last = Agent(home)
    try:
        assert "not tried again" in answer(registry_side, 9).figures.reason
        wait_until(lambda: not home.measuring.exists())
    finally:
        last.close()


def test_a_device_that_does_not_allow_it_measures_nothing(tmp_path, signed, registry_side, broker):
    home = make_home(tmp_path / "closed", signed, broker.url)
    agent = Agent(home)
    try:
        signed.measure("press-1", 1, graph(tmp_path))
        registry_side.nudge_measuring("osaka", "press-1", 1)
        registry_side.wait_for(lambda: registry_side.statuses and not registry_side.statuses[-1].measures)
        published(signed, tmp_path, CCPP1)
        assign(signed, registry_side, CCPP1)
        registry_side.wait_for(lambda: "confirmed" in [row.state for row in registry_side.statuses[-1].releases], 40)
        assert not answers(registry_side)
        assert not [one for one in registry_side.requests if "measuring" in one.resource]
    finally:
        agent.close()


# What is signed, without an agent


@pytest.fixture
def verifier(tmp_path: Path, signed: SignedReleases) -> Verifier:
    roots = PinnedRoots(signed.image.root, signed.director.root)
    fetcher = HomeFetcher(Source(signed.home), "press-1")
    return Verifier(tmp_path / "metadata", roots, fetcher, device="press-1", profile="x86")


def test_a_job_of_another_device_is_refused(tmp_path, signed, verifier):
    signed.measure("press-2", 1, graph(tmp_path))
    devices = signed.home / "director" / "devices"
    (devices / "press-2").rename(devices / "press-1")
    with pytest.raises(TrustError, match="press-2"):
        verifier.measuring()


def test_files_that_were_changed_after_they_were_signed_are_refused(tmp_path, signed, verifier):
    order = signed.measure("press-1", 1, graph(tmp_path))
    (signed.home / "measurements/1/model.onnx").write_bytes(regression((7.0, 7.0)).SerializeToString())
    (tmp_path / "out").mkdir()
    with pytest.raises(ReleaseRefusedError, match=r"measuring-1\.model\.onnx: what arrived is not what was signed"):
        verifier.fetch_measured(order, tmp_path / "out", 1 << 20)


def test_a_replayed_job_is_not_taken(tmp_path, signed, verifier):
    """Who has recorded an older director's word cannot bring a job back that is not signed any more."""
    order = signed.measure("press-1", 1, graph(tmp_path))
    device = signed.home / "director" / "devices" / "press-1"
    recorded = {path: path.read_bytes() for path in device.rglob("*") if path.is_file()}
    assert verifier.measuring() == (order,)
    signed.end_job("press-1", 1)
    assert verifier.measuring() == ()
    (tmp_path / "out").mkdir()
    assert not verifier.fetch_measured(order, tmp_path / "out", 1 << 20)
    for path, data in recorded.items():
        path.write_bytes(data)
    with pytest.raises(TrustError, match="version"):
        verifier.measuring()


def test_an_assignment_keeps_the_jobs_and_jobs_keep_the_assignment(tmp_path, signed, verifier):
    published(signed, tmp_path, CCPP1)
    order = signed.measure("press-1", 1, graph(tmp_path))
    signed.assign("press-1", CCPP1)
    assert verifier.measuring() == (order,)
    again = signed.measure("press-1", 2, graph(tmp_path))
    assert verifier.measuring() == (order, again)
    assert verifier.assignment().releases[0].ref == CCPP1


def test_what_is_signed_to_be_measured_cannot_be_installed(tmp_path, signed, verifier):
    """Not even where an assignment of the director names it: the image repository does not have it."""
    from edge_agent.releases import ReleaseStore

    signed.measure("press-1", 1, graph(tmp_path))
    store = ReleaseStore(tmp_path / "releases")
    with pytest.raises(ReleaseRefusedError, match="has not signed it"):
        verifier.fetch(ReleaseRef("measuring-1", 1), store)
    stolen = {f"measuring/1/{name}": info for name, info in signed._jobs[1][1].items()}
    from protocols.assignment import AssignedRelease, Assignment

    extra = {**stolen, "measuring/1/reference": next(iter(stolen.values()))}
    signed.director.direct(Assignment("press-1", 1, (AssignedRelease("measuring", 1),)), extra, "x86")
    with pytest.raises(ReleaseRefusedError, match="image repository"):
        verifier.fetch(ReleaseRef("measuring", 1), store)
    assert list(store.path(ReleaseRef("measuring", 1)).parent.glob("*")) == []


def test_a_job_that_is_too_large_for_a_device_is_refused_before_it_is_fetched(tmp_path, signed, verifier):
    order = signed.measure("press-1", 1, graph(tmp_path))
    (tmp_path / "out").mkdir()
    with pytest.raises(ReleaseRefusedError, match="this device takes"):
        verifier.fetch_measured(order, tmp_path / "out", 10)
    assert list((tmp_path / "out").iterdir()) == []


def _step(home: AgentHome) -> str:
    try:
        found = read_status(home).measuring
    except HomeError:  # it is only starting
        return ""
    return found.step if found else ""


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]
