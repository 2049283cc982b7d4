"""The whole agent on an emulated Raspberry Pi 4: the registry and the broker are this machine's, the device is not."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from simulators.board import Board
from simulators.broker_process import wait_until
from simulators.factory import Factory
from simulators.notify_socket import Manager
from simulators.secure_broker import SecureClient, free_port
from simulators.trained_models import trained

from genba import main
from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.names import ReleaseRef
from registry.assigning import assign

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STREAM = StreamBinding("main", "ccpp", "plant/press-a/sensors", "plant/press-a/predictions", key="$.id")


class Line:
    """The plant beside the board: sends readings, collects what the board makes of them."""

    def __init__(self, client: SecureClient) -> None:
        self._client = client
        self._client.subscribe(STREAM.output_topic)
        self.sent: dict[int, tuple[float, float]] = {}

    def send(self) -> None:
        number = len(self.sent)
        heat, vacuum = number * 0.37 % 40, 20 + number * 0.91 % 70
        self.sent[number] = heat, vacuum
        self._client.publish(STREAM.topic, json.dumps({"id": number, "AT": heat, "V": vacuum}).encode())

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self._client.heard(STREAM.output_topic)]

    def version(self) -> int:
        """Send a reading; return the version that served the newest answer there is, 0 for none."""
        self.send()
        time.sleep(0.1)
        answers = self.answers()
        return int(answers[-1]["version"]) if answers else 0

    def close(self) -> None:
        self._client.close()


class Pi:
    """The device: its agent's process on the board, and what it tells its service manager."""

    def __init__(self, board: Board, factory: Factory) -> None:
        self.factory = factory
        # A busy machine emulates slowly.
        self.manager = Manager(f"@genba-board-{os.getpid()}-{id(self)}", 90)
        self.home = factory.enrol("press-a", profile="raspberry-pi-4", python=board.python)
        self._python, self.port = board.python, free_port()
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        watched = {"NOTIFY_SOCKET": self.manager.address, "WATCHDOG_USEC": "20000000"}
        words = ["--http-port", str(self.port)]
        return self.factory.run(self.home, "press-a", *words, python=self._python, environment=watched)

    def asked(self, path: str, body: dict[str, Any] | None = None) -> str:
        """Ask the agent's own endpoint on the board."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()

    def assign(self, ref: ReleaseRef) -> None:
        wanted = Assignment("press-a", 0, (AssignedRelease(ref.model, ref.version),), (STREAM,), 1.0, 0.2)
        assign(self.factory.home, self.factory.catalogue, wanted, time.time)

    def events(self, kind: str) -> list[Any]:
        return [event for event in self.factory.catalogue.events.list(device="press-a") if event.kind == kind]


@pytest.fixture
def pi(board: Board, factory: Factory) -> Iterator[Pi]:
    pi = Pi(board, factory)
    yield pi
    pi.manager.close()


@pytest.fixture
def line(factory: Factory) -> Iterator[Line]:
    where = ["--home", str(factory.home), "--out", str(factory.folder)]
    assert main(["registry", "certificate", "line", *where]) == 0
    (factory.broker.folder / "plant.acl").write_text("user line\ntopic readwrite plant/#\n")
    line = Line(SecureClient(factory.broker, factory.folder / "line"))
    yield line
    line.close()


def here(model: onnx.ModelProto) -> Callable[[float, float], float]:
    """Return what this machine's ONNX Runtime makes of one reading."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def predict(*reading: float) -> float:
        fed = {name: np.array([[value]], np.float32) for name, value in zip(("AT", "V"), reading, strict=True)}
        return float(session.run(["prediction"], fed)[0][0, 0])

    return predict


@pytest.mark.sample
def test_a_raspberry_pi_enrols_pulls_proves_serves_reports_and_swaps(pi: Pi, line: Line) -> None:
    factory, models = pi.factory, {1: trained("boosted"), 2: trained("forest")}
    pi.manager.wait_for("READY=1")
    wait_until(lambda: factory.online("press-a"), 60, "the device")
    pi.assign(factory.publish(model=models[1]))
    wait_until(lambda: line.version() == 1, 90, "a prediction")
    wait_until(lambda: pi.events("release-confirmed"), 30, "the confirmation")
    proof = pi.events("preflight-passed")[0].detail
    assert proof["provider"] == "CPUExecutionProvider"
    assert (proof["rows"], proof["largest_difference"] < 0.05) == (16, True)
    window = wait_until(lambda: factory.catalogue.telemetry.by_device("press-a"), 30, "telemetry")[0].telemetry
    assert (window.model, window.version, window.provider) == ("ccpp", 1, "CPUExecutionProvider")
    pi.manager.drain()
    pi.manager.wait_for("WATCHDOG=1")
    columns = [{"name": name, "datatype": "FP32", "shape": [1, 1], "data": [30.0]} for name in ("AT", "V")]
    (output,) = json.loads(pi.asked("/v2/models/ccpp/infer", {"inputs": columns}))["outputs"]
    assert output["data"] == pytest.approx([here(models[1])(30.0, 30.0)], rel=1e-4)
    assert "genba_" in pi.asked("/metrics")

    pi.assign(factory.publish(model=models[2]))
    wait_until(lambda: line.version() == 2, 90, "the swap")
    wait_until(lambda: line.answers()[-1]["key"] == len(line.sent) - 1, 30, "the last answer")
    answers = line.answers()
    first = answers[0]["key"]  # what was sent before the stream was there went nowhere
    assert [answer["key"] for answer in answers] == list(range(first, len(line.sent)))  # none lost, none twice
    assert [answer["version"] for answer in answers] == sorted(answer["version"] for answer in answers)
    expected = {version: here(model) for version, model in models.items()}
    for answer in answers:
        there = expected[answer["version"]](*line.sent[answer["key"]])
        assert answer["prediction"] == pytest.approx(there, rel=1e-4, abs=1e-4)

    probe = wait_until(lambda: factory.catalogue.devices.get("press-a").status.probe, 60, "what the device is")
    assert (probe["arch"], probe["cpu"]) == ("aarch64", "Arm Cortex-A72")
    assert probe["board"].startswith("Raspberry Pi 4")

    pi.process.send_signal(signal.SIGTERM)
    pi.manager.wait_for("STOPPING=1")
    assert pi.process.wait(30) == 0


def test_a_release_whose_golden_vectors_do_not_hold_on_the_board_is_refused_while_the_old_one_serves(
    pi: Pi, line: Line
) -> None:
    factory = pi.factory
    pi.assign(factory.publish(model=trained("linear")))
    wait_until(lambda: line.version() == 1, 90, "a prediction")

    def spoil(outputs: list[np.ndarray[Any, Any]]) -> None:
        outputs[0][3] += 1.0

    pi.assign(factory.publish(model=trained("boosted"), spoil=spoil))
    refused = wait_until(lambda: pi.events("release-refused"), 90, "the refusal")[0]
    assert (refused.version, refused.detail["check"]) == (2, "golden")
    assert line.version() == 1


def test_a_board_whose_power_fails_serves_again_without_the_registry(pi: Pi, line: Line) -> None:
    pi.assign(pi.factory.publish(model=trained("linear")))
    wait_until(lambda: line.version() == 1, 90, "a prediction")
    wait_until(lambda: pi.events("release-confirmed"), 60, "the confirmation")
    pi.process.kill()
    pi.process.wait()
    pi.factory.registry.terminate()
    pi.factory.registry.wait(20)
    answered = len(line.answers())
    pi.manager.drain()
    pi.start()
    pi.manager.wait_for("READY=1")
    wait_until(lambda: line.version() == 1 and len(line.answers()) > answered, 60, "a prediction after the power cut")
