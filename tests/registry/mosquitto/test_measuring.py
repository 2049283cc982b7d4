"""`genba devices measure` over all of it: registry, broker with mutual TLS, and devices that serve meanwhile."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from simulators.broker_process import wait_until
from simulators.factory import ROOT, Factory, Programs
from simulators.small_models import write_release

import genba
from protocols.measuring import DeviceFigures
from registry.client import RegistryClient, measuring_on

pytestmark = pytest.mark.slow


@pytest.fixture
def factory(home, broker, catalogue, tmp_path):
    (home / "registry.toml").write_text("")
    programs = Programs(tmp_path)
    yield Factory(home, broker, catalogue, programs, tmp_path)
    programs.close()


@pytest.fixture
def token(catalogue):
    return catalogue.tokens.create("test")


@pytest.fixture
def candidate(tmp_path):
    write_release(tmp_path / "candidate", version=0)
    return tmp_path / "candidate"


@pytest.fixture
def press(factory):
    """A device that measures, and is online."""
    home = factory.enrol("press-1")
    with (home / "agent.toml").open("a") as settings:
        settings.write("measure = true\n")
    agent = factory.run(home)
    wait_until(lambda: (found := factory.catalogue.devices.get("press-1").status) and found.measures, 40, "the device")
    return agent


def command(factory, token, *words: str) -> list[str]:
    return ["devices", "measure", *words, "--registry", factory.url, "--token", token]


@pytest.mark.sample
def test_a_candidate_is_measured_on_a_device_and_a_device_that_is_gone_is_told_of(
    factory, token, candidate, press, capsys
):
    assert genba.main(command(factory, token, str(candidate), "--profile", "x86", "--timeout", "60s")) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["DEVICE", "PROFILE", "RUNS"]
    assert row.split()[:3] == ["press-1", "x86", "CPU"]
    assert "hold: 16 rows" in row
    assert "measured" in factory.events("press-1")

    found = measuring_on(RegistryClient(factory.url, token), "press-1", timeout_s=60)(
        (candidate / "model.onnx").read_bytes(), (candidate / "golden.npz").read_bytes()
    )
    assert [type(one) for one in found] == [DeviceFigures]
    assert found[0].latency_p99_ms >= found[0].latency_p50_ms > 0

    press.send_signal(signal.SIGTERM)
    press.wait(30)
    wait_until(lambda: not factory.online("press-1"), 20, "its end")
    assert genba.main(command(factory, token, str(candidate), "--device", "press-1", "--timeout", "5s", "--json")) == 1
    (gone,) = json.loads(capsys.readouterr().out)
    assert (gone["outcome"], gone["reason"]) == ("expired", "the device was offline until the job expired")


def test_a_command_that_is_interrupted_leaves_no_job(factory, token, candidate, press):
    press.send_signal(signal.SIGTERM)
    press.wait(30)
    child = subprocess.Popen(
        [sys.executable, "-m", "genba", *command(factory, token, str(candidate), "--device", "press-1")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: factory.catalogue.measurements.waiting("press-1"), 20, "the job")
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=20)[1] == "genba: interrupted\n"
    assert child.returncode == 130
    assert not factory.catalogue.measurements.waiting("press-1")


def test_a_device_that_was_away_measures_when_it_is_back(factory, token, candidate, press):
    press.send_signal(signal.SIGKILL)
    press.wait(30)
    measured: list[DeviceFigures] = []
    measure = measuring_on(RegistryClient(factory.url, token), "press-1", timeout_s=90)
    graph, golden = ((candidate / name).read_bytes() for name in ("model.onnx", "golden.npz"))
    asking = threading.Thread(target=lambda: measured.extend(measure(graph, golden)))
    asking.start()
    wait_until(lambda: factory.catalogue.measurements.waiting("press-1"), 20, "the job")
    time.sleep(0.5)
    factory.run(factory.folder / "press-1")
    asking.join(90)
    assert [one.outcome for one in measured] == ["measured"]


def test_training_for_a_board_that_nobody_has_is_refused_before_the_table_is_read(factory, token, monkeypatch, capsys):
    factory.enrol("press-1")
    monkeypatch.setenv("GENBA_TOKEN", token)
    words = ["train", "nothing.csv", "--target", "y", "--model", "press", "--out", "press", "--registry", factory.url]
    assert genba.main([*words, "--device", "jetson-orin"]) == 1
    assert capsys.readouterr().err.startswith(
        "genba: the selector 'profile=jetson-orin' matches no device; enrolled are"
    )
    assert genba.main([*words, "--device", "press-1"]) == 1
    assert capsys.readouterr().err.startswith("genba: nothing.csv does not exist")
