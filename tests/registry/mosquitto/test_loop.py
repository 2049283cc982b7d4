"""The whole loop under mutual TLS: real registry, real mosquitto, real agents, each in a process of its own."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators.broker_process import wait_until
from simulators.factory import Factory, Programs
from simulators.secure_broker import SecureBroker

from genba import main
from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from registry.assigning import assign
from registry.catalogue import Catalogue

STREAM = StreamBinding("main", "ccpp", "plant/press-a/sensors", "plant/press-a/predictions", key="$.id")


@pytest.fixture
def factory(home: Path, broker: SecureBroker, catalogue: Catalogue, tmp_path: Path, request: Any) -> Iterator[Factory]:
    (home / "registry.toml").write_text(getattr(request, "param", ""))
    programs = Programs(tmp_path)
    yield Factory(home, broker, catalogue, programs, tmp_path)
    programs.close()


def test_enrol_pull_serve_and_report_over_mutual_tls(factory, connect, system):
    line = system("line")
    (factory.broker.folder / "plant.acl").write_text("user line\ntopic readwrite plant/#\n")
    plant = connect(line)
    plant.subscribe("plant/press-a/predictions")
    home = factory.enrol("press-a")
    factory.run(home)
    wait_until(lambda: factory.online("press-a"), 30, "the device")
    ref = factory.publish()
    assignment = Assignment("press-a", 0, (AssignedRelease(ref.model, ref.version),), (STREAM,), 1.0, 0.1)
    assign(factory.home, factory.catalogue, assignment, time.time)

    def predictions() -> list[bytes]:
        plant.publish(STREAM.topic, b'{"id": 7, "AT": 1.0, "V": 2.0}')
        time.sleep(0.05)
        return plant.heard(STREAM.output_topic)

    found = json.loads(wait_until(predictions, 40, "a prediction")[0])
    assert (found["key"], found["prediction"], found["version"]) == (7, 10.0, 1)
    wait_until(lambda: factory.catalogue.telemetry.totals().windows, 20, "telemetry")
    window = factory.catalogue.telemetry.by_device("press-a")[0].telemetry
    assert len(window.instance) == 16
    began = time.monotonic()
    assert main(["registry", "revoke", "press-a", "--home", str(factory.home)]) == 0
    wait_until(lambda: not factory.status(home)["connected"], 60, "the end of the connection")
    print(f"revoked: out after {time.monotonic() - began:.2f} s")
    wait_until(lambda: "is revoked; enrol it anew" in factory.log("press-a"), 60, "what the broker says")


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.parametrize("factory", ["certificate_life_s = 9\n"], indirect=True)
def test_an_agent_renews_its_certificate_by_itself_and_goes_on_when_the_old_one_has_ended(factory):
    home = factory.enrol("press-a")
    factory.run(home)
    certificates = lambda: factory.catalogue.certificates.of("osaka.press-a")  # noqa: E731
    wait_until(lambda: len(certificates()) >= 2, 30, "a renewal")
    first = certificates()[-1]
    wait_until(lambda: time.time() > first.expires_at, 30, "the end of the first certificate")
    factory.broker.stop()  # a new connection needs a good certificate
    factory.broker.start()
    wait_until(lambda: factory.status(home)["connected"], 20, "the device")
    kinds = [event.kind for event in factory.catalogue.events.list(device="press-a")]
    assert "identity-renewed" in kinds


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.parametrize("factory", ["certificate_life_s = 3\n"], indirect=True)
def test_an_agent_whose_certificate_ended_while_it_was_away_finds_back_in(factory):
    home = factory.enrol("press-a")
    end = factory.catalogue.certificates.of("osaka.press-a")[0].expires_at
    (factory.home / "registry.toml").write_text("certificate_life_s = 3600\n")
    wait_until(lambda: time.time() > end, what="the end of the certificate")
    factory.run(home)
    wait_until(lambda: factory.online("press-a"), 30, "the device")
    assert len(factory.catalogue.certificates.of("osaka.press-a")) == 2


@pytest.mark.slow
@pytest.mark.sample
def test_an_identity_that_is_used_twice_is_seen_and_told(factory):
    home = factory.enrol("press-a")
    factory.run(home)
    wait_until(lambda: factory.online("press-a"), 30, "the device")
    assert factory.catalogue.devices.get("press-a").cloned_at is None
    shutil.copytree(home, factory.folder / "clone")
    factory.run(factory.folder / "clone")
    wait_until(lambda: factory.catalogue.devices.get("press-a").cloned_at, 30, "that there are two")

    def told():
        events = factory.catalogue.events.list(device="press-a")
        return [event for event in events if event.kind == "identity-cloned"]

    wait_until(told, 10, "the event, which is written after the mark")
    assert [event.level for event in told()] == ["error"]
    assert "genba registry revoke press-a" in told()[0].text
    wait_until(lambda: "two agents use the identity of press-a" in factory.log("registry"), 10, "the log")


@pytest.mark.slow
def test_an_agent_that_is_restarted_again_and_again_is_one_agent(factory):
    home = factory.enrol("press-a")
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        agent = factory.run(home)
        wait_until(lambda: factory.online("press-a"), 30, "the device")
        agent.send_signal(number)
        agent.wait(10)
        wait_until(lambda: not factory.online("press-a"), 30, "its end")
    assert factory.catalogue.devices.get("press-a").cloned_at is None
