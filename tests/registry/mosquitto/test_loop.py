"""The whole loop under mutual TLS: real registry, real mosquitto, real agents, each in a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators.broker_process import wait_until
from simulators.secure_broker import SecureBroker
from simulators.small_models import write_release

from genba import main
from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.names import ReleaseRef
from registry.assigning import assign
from registry.catalogue import Catalogue
from registry.enrolment import create_token
from registry.publication import publish

ROOT = Path(__file__).parents[3]
STREAM = StreamBinding("main", "ccpp", "plant/press-a/sensors", "plant/press-a/predictions", key="$.id")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Run `genba` with these words; its output is in NAME.log."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "genba", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        started.append(child)
        return child

    yield start
    for child in started:
        child.send_signal(signal.SIGTERM)
    for child in started:
        child.wait(20)


class Factory:
    """One registry with its broker, and what can be done there."""

    def __init__(self, home: Path, broker: SecureBroker, catalogue: Catalogue, program: Any, folder: Path) -> None:
        self.home, self.broker, self.catalogue, self.folder = home, broker, catalogue, folder
        self._program = program
        program("registry", "registry", "serve", "--home", str(home), "--port", "0", "--broker", broker.url)
        wait_until(lambda: "registry: http" in self.log("registry"), 40, "the registry")
        self.url = json.loads((home / "run" / "serve.json").read_text())["url"]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def enrol(self, device: str) -> Path:
        token = create_token(self.home, self.catalogue, device, "osaka", 60.0, time.time)
        home = self.folder / device
        words = ["--registry", self.url, "--token", token, "--device", device, "--site", "osaka", "--profile", "x86"]
        assert main(["agent", "enrol", "--home", str(home), *words]) == 0
        return home

    def run(self, home: Path, name: str = "") -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] = self._program(name or home.name, "agent", "run", "--home", str(home))
        return child

    def status(self, home: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((home / "status.json").read_text())
        except FileNotFoundError:
            return {"connected": False}
        return found

    def online(self, device: str) -> bool:
        return self.catalogue.devices.get(device).online

    def publish(self) -> ReleaseRef:
        folder = self.folder / "candidate"
        write_release(folder, version=0)
        (folder / "report.json").write_text("{}")
        return publish(self.home, self.catalogue, folder, time.time, published_by="test").release


@pytest.fixture
def factory(
    home: Path, broker: SecureBroker, catalogue: Catalogue, program: Any, tmp_path: Path, request: Any
) -> Factory:
    (home / "registry.toml").write_text(getattr(request, "param", ""))
    return Factory(home, broker, catalogue, program, tmp_path)


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
    told = [event for event in factory.catalogue.events.list(device="press-a") if event.kind == "identity-cloned"]
    assert [event.level for event in told] == ["error"]
    assert "genba registry revoke press-a" in told[0].text
    assert "two agents use the identity of press-a" in factory.log("registry")


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
