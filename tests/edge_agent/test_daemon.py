"""The daemon from end to end, as a process, over a real broker, with really signed releases."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulators.agent_process import ROOT, Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import (
    add_variant,
    crashing_regression,
    hungry_regression,
    nan_regression,
    picky_regression,
    regression,
    slow_regression,
    write_release,
)

from edge_agent.settings import AgentHome
from protocols.manifest import Tolerance
from protocols.names import ReleaseRef
from protocols.payloads import message_id

ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)


def test_an_assigned_release_is_fetched_proven_and_serves_and_reports(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    line.send({"id": 1, "AT": 3, "V": 1})
    line.send(b"not json at all")
    line.send({"id": 2, "AT": "warm", "V": 1})
    line.send({"id": 3, "AT": 4.5, "V": None})
    wait_until(lambda: 3 in line.predictions, what="the third prediction")
    name = message_id(json.dumps({"id": 1, "AT": 3, "V": 1}).encode())
    assert line.predictions[1] == [{"prediction": 15.0, "model": "ccpp", "version": 1, "key": 1, "id": name}]
    assert line.predictions[3][0]["prediction"] == 19.0
    window = registry_side.wait_for(lambda: list(registry_side.windows.values()))[-1]
    assert (window.predictions, window.rejected) == (2, {"not-json": 1, "wrong-type": 1})
    assert window.numeric["V"].missing == 1
    assert window.provider == "CPUExecutionProvider"
    assert "preflight-passed" in registry_side.kinds()
    assert agent.stop() == 0
    assert registry_side.wait_for(lambda: registry_side.statuses and not registry_side.statuses[-1].online)


def test_no_prediction_is_lost_over_a_swap_and_each_names_its_release(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    sent, stop = [0], threading.Event()

    def produce() -> None:
        while not stop.wait(0.002):
            line.send({"id": sent[0], "AT": 0, "V": 0})
            sent[0] += 1

    producer = threading.Thread(target=produce)
    producer.start()
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: registry_side.kinds().count("release-confirmed") == 2)
    stop.set()
    producer.join()
    wait_until(lambda: len(line.predictions) == sent[0], what=f"{sent[0]} predictions")
    for predictions in line.predictions.values():
        assert [p["prediction"] for p in predictions] == [10.0 if predictions[0]["version"] == 1 else 1000.0]
    assert {p[0]["version"] for p in line.predictions.values()} == {1, 2}


def test_a_release_that_fails_on_live_messages_is_rolled_back_and_not_fetched_again(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE, confirm_s=0.1)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    inside = [np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [2.0]], np.float32)]
    published(signed, tmp_path, TWO, model=picky_regression(), columns=inside)
    assign(signed, registry_side, TWO, confirm_s=60.0)
    registry_side.wait_for(lambda: registry_side.kinds().count("release-active") == 2)
    for number in range(20):
        line.send({"id": number, "AT": 1e6, "V": 0})
    registry_side.wait_for(lambda: "release-rolled-back" in registry_side.kinds())
    wait_until(lambda: 19 in line.predictions, what="the release before it serving again")
    assert line.predictions[19][0]["version"] == 1
    assert len(line.predictions) == 15  # five messages were the proof that it fails
    assign(signed, registry_side, TWO, confirm_s=50.0)
    registry_side.wait_for(lambda: "release-skipped" in registry_side.kinds())
    assert not any("ccpp/2" in request.resource for request in registry_side.requests[-5:])


def test_a_release_that_is_slower_on_the_line_than_it_promises_is_rolled_back(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    quick = [np.ones((2, 1), np.float32)] * 2
    published(signed, tmp_path, TWO, model=slow_regression(), columns=quick, latency_limit_ms=0.5)
    assign(signed, registry_side, TWO, confirm_s=60.0)
    registry_side.wait_for(lambda: registry_side.kinds().count("release-active") == 2)
    for number in range(200):
        line.send({"id": number, "AT": 1, "V": 200_000})
    registry_side.wait_for(lambda: "release-rolled-back" in registry_side.kinds())
    assert any("longer than the 0.5 ms that the release promises" in text for text in registry_side.told())
    line.send({"id": "after", "AT": 0, "V": 0})
    wait_until(lambda: "after" in line.predictions)
    assert line.predictions["after"][0]["version"] == 1
    assert len(line.predictions) == 201


def test_a_restarted_agent_serves_at_once_without_any_registry(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    first = Agent(home)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    first.stop(signal.SIGKILL)
    first.close()
    registry_side.close()
    line.send({"id": "while away", "AT": 1, "V": 0})
    second = Agent(home)
    wait_until(lambda: "while away" in line.predictions, what="the prediction for a message sent while it was away")
    assert second.stop() == 0
    second.close()


def test_a_second_agent_on_the_same_home_is_refused(agent: Agent, home: AgentHome) -> None:
    wait_until(home.status.exists, what="the first agent's status")
    second = subprocess.run(
        [sys.executable, "-m", "genba", "agent", "run", "--home", str(home.folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"process {agent.process.pid}" in second.stderr


def test_status_tells_a_person_and_a_machine(
    agent: Agent, home: AgentHome, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path, capsys: Any
) -> None:
    from genba import main

    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())

    def page() -> dict[str, Any]:
        assert main(["agent", "status", "--json", "--home", str(home.folder)]) == 0
        return dict(json.loads(capsys.readouterr().out))

    found = wait_until(lambda: (p := page())["releases"] and p["releases"][0]["state"] == "confirmed" and p)
    assert found["running"]
    assert found["connected"]
    assert found["process"] == agent.process.pid
    agent.stop(signal.SIGKILL)
    assert not page()["running"]
    assert main(["agent", "status", "--home", str(home.folder)]) == 0
    assert "not running" in capsys.readouterr().out


def test_status_says_why_nothing_is_served(
    home: AgentHome, signed: SignedReleases, registry_side: RegistrySide, broker: Broker, tmp_path: Path, capsys: Any
) -> None:
    from genba import main

    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    first = Agent(home)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    first.stop()
    first.close()
    broker.stop()
    [model] = home.folder.glob("releases/ccpp/1/model.onnx")
    model.write_bytes(model.read_bytes() + b"?")
    second = Agent(home)

    def text() -> str:
        assert main(["agent", "status", "--home", str(home.folder)]) == 0
        return str(capsys.readouterr().out)

    said = wait_until(lambda: (found := text()) and "nothing on stream 'line': ccpp@1 is assigned" in found and found)
    why = next(line for line in said.splitlines() if line.startswith("serving "))
    assert f"ccpp@1 is assigned ({model} was changed after it was signed" in why
    assert "sha256" in why
    assert why.endswith("it is fetched as soon as the broker answers")
    assert second.stop() == 0
    second.close()


def test_a_broker_that_is_not_there_is_one_clear_line_and_sigterm_ends_it(home: AgentHome, broker: Broker) -> None:
    broker.stop()
    agent = Agent(home)
    gone = f"no broker answers at 127.0.0.1:{broker.port}"
    wait_until(lambda: any(gone in line["text"] for line in agent.log()), what="the line about the broker")
    wait_until(home.status.exists)
    assert agent.stop() == 0
    assert sum(gone in line["text"] for line in agent.log()) == 1
    agent.close()


def test_a_release_that_fails_its_preflight_leaves_the_one_before_it_serving(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())

    def shift(outputs: list[Any]) -> None:
        outputs[0][0] += 1

    published(signed, tmp_path, TWO, spoil=shift)
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: "release-refused" in registry_side.kinds())
    line.send({"id": 1, "AT": 0, "V": 0})
    wait_until(lambda: 1 in line.predictions, what="a prediction")
    assert line.predictions[1][0]["version"] == 1
    refused = next(event for event in registry_side.events.values() if event.kind == "release-refused")
    assert (refused.level, refused.model, refused.version) == ("error", "ccpp", 2)
    assert "prediction of row 0" in refused.text
    held = registry_side.wait_for(
        lambda: [r for r in registry_side.statuses[-1].releases if (r.version, r.state) == (2, "refused")]
    )
    assert "preflight" in held[0].reason


def test_a_release_is_tuned_once_before_its_proof_and_serves_by_what_was_found(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    home.settings_path.write_text(home.settings_path.read_text().replace("tune_s = 0", "tune_s = 8"))
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO)  # the same graph
    agent = Agent(home)
    try:
        for release in (ONE, TWO):
            assign(signed, registry_side, release)
            number = release.version
            registry_side.wait_for(lambda count=number: registry_side.kinds().count("release-active") == count)
        line.send({"id": 1, "AT": 3, "V": 1})
        wait_until(lambda: 1 in line.predictions, what="a prediction")
        assert line.predictions[1][0]["version"] == 2
        agent.stop()
        assert len([entry for entry in agent.log() if entry["text"] == "tuned"]) == 1
    finally:
        agent.close()
    first, second = (
        event.detail["tuned"] for event in registry_side.events.values() if event.kind == "preflight-passed"
    )
    assert "ms a row alone" in first
    assert any(f"passed its preflight: CPU: all 6 nodes; tuned to {first}" in text for text in registry_side.told())
    assert first == second, "the second found what the first had measured"
    assert len(list(home.tuned.glob("*.json"))) == 1


def test_a_variant_is_fetched_measured_and_refused_where_it_is_off_while_the_model_serves(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    home.settings_path.write_text(home.settings_path.read_text().replace("tune_s = 0", "tune_s = 8"))
    folder = tmp_path / "made"
    manifest = write_release(folder)
    add_variant(folder, manifest, regression(bias=11.0).SerializeToString(), Tolerance(0.1, 0.0))
    signed.publish(ONE, folder)
    agent = Agent(home)
    try:
        assign(signed, registry_side, ONE)
        registry_side.wait_for(lambda: "release-active" in registry_side.kinds())
        line.send({"id": 1, "AT": 3, "V": 1})
        wait_until(lambda: 1 in line.predictions, what="a prediction")
        assert line.predictions[1][0]["prediction"] == 15.0
    finally:
        agent.close()
    assert (home.releases / "ccpp" / "1" / "model.int8.onnx").exists()
    found = json.loads(next(home.tuned.glob("*.json")).read_text())
    (refused,) = [each for each in found["measured"] if "reason" in each]
    assert refused["plan"]["precision"] == "int8"


def test_what_does_not_fit_is_refused_with_every_reason_before_the_model_is_fetched(
    agent: Agent, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    wants = {"cpu_features": ("a_feature_of_tomorrow",), "operators": ("MatMul", "acme.press.Fold"), "opset": {"": 99}}
    published(signed, tmp_path, ONE, **wants)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-refused" in registry_side.kinds())
    refused = next(event for event in registry_side.events.values() if event.kind == "release-refused")
    for reason in ("a processor with a_feature_of_tomorrow", "the custom operators acme.press.Fold", "opset 99"):
        assert reason in refused.text
    assert refused.text.startswith("ccpp@1 is refused in state assigned: preflight: ccpp@1 does not fit this device")
    assert refused.detail["check"] == "fit"
    asked = [request.resource for request in registry_side.requests if "targets/ccpp" in request.resource]
    assert asked
    assert not [resource for resource in asked if not resource.endswith("release.json")]


def test_the_old_release_serves_on_while_one_bad_release_after_another_is_refused(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    bad = [
        (crashing_regression(), "SIGSEGV", -1.0, 1.0),
        (nan_regression(), "is nan; it must be a number", -1.0, 1.0),
        (hungry_regression(), "it asked for more memory than", 1.0, 1e11),
    ]
    sent, stop = [0], threading.Event()

    def produce() -> None:
        while not stop.wait(0.01):
            line.send({"id": sent[0], "AT": 0, "V": 0})
            sent[0] += 1

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for version, (model, _, at, v) in enumerate(bad, start=2):
            columns = [np.full((2, 1), value, np.float32) for value in (at, v)]
            ref = ReleaseRef("ccpp", version)
            published(signed, tmp_path, ref, model=model, golden_by=regression(), columns=columns)
            assign(signed, registry_side, ref)
            registry_side.wait_for(lambda count=version - 1: registry_side.kinds().count("release-refused") == count)
    finally:
        stop.set()
        producer.join()
    wait_until(lambda: len(line.predictions) == sent[0], what=f"{sent[0]} predictions")
    assert {prediction["version"] for made in line.predictions.values() for prediction in made} == {1}
    refused = [event for event in registry_side.events.values() if event.kind == "release-refused"]
    for event, (_, text, _, _) in zip(refused, bad, strict=True):
        assert text in event.text
        assert event.detail["check"] in ("load", "golden", "memory")


def test_events_and_windows_wait_for_a_registry_that_does_not_answer(
    agent: Agent, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    registry_side.acknowledges = False
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    told = set(registry_side.events)
    agent.stop(signal.SIGKILL)
    registry_side.acknowledges = True
    registry_side.received.clear()
    second = Agent(AgentHome(tmp_path / "agent"))
    registry_side.wait_for(lambda: told <= set(registry_side.received))
    assert second.stop() == 0
    second.close()


@pytest.mark.parametrize("confirm_s", [60.0, pytest.param(0.1, marks=[pytest.mark.slow, pytest.mark.sample])])
def test_three_starts_that_die_early_fall_back_to_the_release_before(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path, confirm_s: float
) -> None:
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    assign(signed, registry_side, ONE)
    wanted = "release-confirmed" if confirm_s < 1 else "release-active"
    for death in range(3):
        agent = Agent(home)
        if death == 0:
            registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
            assign(signed, registry_side, TWO, confirm_s=confirm_s)
            registry_side.wait_for(lambda: registry_side.kinds().count(wanted) == 2)
        line.send({"id": death, "AT": 0, "V": 0})
        wait_until(lambda death=death: death in line.predictions)
        assert line.predictions[death][0]["version"] == 2
        agent.stop(signal.SIGKILL)
        agent.close()
    last = Agent(home)
    line.send({"id": "last", "AT": 0, "V": 0})
    wait_until(lambda: "last" in line.predictions)
    assert line.predictions["last"][0]["version"] == 1
    told = registry_side.wait_for(
        lambda: [event.text for event in registry_side.events.values() if event.kind == "release-rolled-back"]
    )
    assert "the agent died 3 times" in told[0]
    assert last.stop() == 0
    last.close()


@pytest.mark.slow
def test_the_agent_survives_being_killed_at_any_moment(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    import random

    chance = random.Random(11)
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE, confirm_s=0.1)
    first = Agent(home)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    first.close()
    for turn in range(2, 12):
        ref = published(signed, tmp_path, ReleaseRef("ccpp", turn), model=regression(bias=float(turn)))
        assign(signed, registry_side, ref, confirm_s=0.1)
        agent = Agent(home)
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(chance.uniform(0.3, 2.0))
        agent.stop(signal.SIGKILL)
        agent.close()
    last = Agent(home)
    registry_side.wait_for(
        lambda: any((r.version, r.state) == (11, "confirmed") for r in registry_side.statuses[-1].releases), 30
    )
    line.send({"id": "last", "AT": 0, "V": 0})
    wait_until(lambda: "last" in line.predictions)
    assert line.predictions["last"][0]["prediction"] == 11.0
    assert last.stop() == 0
    last.close()


def asks_for_the_model(side: RegistrySide, ref: ReleaseRef, transfer: int | None = None) -> bool:
    """Whether a device has asked for a release's model, with that transfer number if one is given."""
    return any(
        request.resource.startswith(f"image/targets/{ref.model}/{ref.version}/")
        and request.resource.endswith("model.onnx")
        and transfer in (None, request.transfer)
        for request in side.requests
    )


def test_a_new_assignment_takes_effect_in_the_middle_of_a_download(
    agent: Agent, signed: SignedReleases, registry_side: RegistrySide, home: AgentHome, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO, model=regression(bias=7.0))
    registry_side.mishap = lambda block: None if asks_for_the_model(registry_side, ONE, block.transfer) else block
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: asks_for_the_model(registry_side, ONE))
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds(), timeout_s=10)
    assert [held.version for held in registry_side.statuses[-1].releases] == [2]
    assert list(home.partial.iterdir()) == []


def test_a_release_that_is_no_longer_assigned_is_not_downloaded_further(
    agent: Agent, signed: SignedReleases, registry_side: RegistrySide, home: AgentHome, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    registry_side.mishap = lambda block: None if asks_for_the_model(registry_side, ONE, block.transfer) else block
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: asks_for_the_model(registry_side, ONE))
    assign(signed, registry_side, streams=())
    registry_side.wait_for(lambda: registry_side.statuses and registry_side.statuses[-1].revision == 2)
    assert registry_side.statuses[-1].releases == ()
    wait_until(lambda: not list(home.releases.glob("*/.*")), what="the half-fetched release to be deleted")
    assert "release-refused" not in registry_side.kinds()
