"""The endpoint of a whole agent, as a process, over a real broker: off unless asked for, and up through a swap."""

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from simulators.agent_home import make_home
from simulators.agent_process import ROOT, STREAM, Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import regression

from edge_agent.errors import HomeError
from edge_agent.settings import AgentHome
from edge_agent.status import read_status
from protocols.names import ReleaseRef

ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)
INPUTS = [{"name": name, "shape": [1, 1], "datatype": "FP32", "data": [0]} for name in ("AT", "V")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path, signed: SignedReleases, broker: Broker) -> AgentHome:
    return make_home(tmp_path / "agent", signed, broker.url, http_port=free_port())


def get(home: AgentHome, path: str, body: Any = None) -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{home.settings().http_port}{path}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=10) as answer:
            return int(answer.status), bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except urllib.error.URLError:
        return 0, b""


def test_no_call_fails_over_a_swap_and_each_answer_names_its_release(
    agent: Agent, home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    wait_until(lambda: get(home, "/v2/health/live")[0] == 200, what="the endpoint")
    assert get(home, "/v2/models/ccpp/infer", {"inputs": INPUTS})[0] == 404
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    assert get(home, "/v2/health/ready")[0] == 200
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    answers: list[dict[str, Any]] = []
    stop = threading.Event()

    def ask() -> None:
        client = triton.InferenceServerClient(f"localhost:{home.settings().http_port}")
        while not stop.is_set():
            inputs = [triton.InferInput(name, [1, 1], "FP32") for name in ("AT", "V")]
            for each in inputs:
                each.set_data_from_numpy(np.zeros((1, 1), "float32"))
            result = client.infer("ccpp", inputs)
            version = int(result.get_response()["model_version"])
            answers.append({"version": version, "prediction": float(result.as_numpy("prediction").item())})
        client.close()

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(50):
        line.send({"id": number, "AT": 0, "V": 0})
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: registry_side.kinds().count("release-confirmed") == 2)
    after = len(answers)
    wait_until(lambda: len(answers) > after + 10 or not asking.is_alive())
    stop.set()
    asking.join()
    assert {row["version"] for row in answers} == {1, 2}
    assert [row for row in answers if row["prediction"] != {1: 10.0, 2: 1000.0}[row["version"]]] == []
    wait_until(lambda: len(line.predictions) == 50)
    text = get(home, "/metrics")[1].decode()
    assert 'genba_model_swaps_total{model="ccpp"} 1' in text
    assert f'genba_stream_predictions_total{{stream="{STREAM.name}",model="ccpp"}} 50' in text
    assert "genba_broker_connected 1" in text
    assert agent.stop() == 0


def test_predictions_are_served_with_no_broker(
    home: AgentHome, broker: Broker, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    first = Agent(home)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    assert first.stop() == 0
    first.close()
    broker.stop()
    second = Agent(home)
    try:
        wait_until(lambda: get(home, "/v2/health/ready")[0] == 200, 20, what="the release serving")
        answer = json.loads(get(home, "/v2/models/ccpp/infer", {"inputs": INPUTS})[1])
        assert (answer["model_version"], answer["outputs"][0]["data"]) == ("1", [10.0])
        wait_until(lambda: b"genba_broker_connected 0" in get(home, "/metrics")[1])
        assert second.stop() == 0
    finally:
        second.close()


def test_it_is_off_unless_asked_for_and_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    code = "import sys, edge_agent.assembly, edge_agent.daemon; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "edge_agent.local_endpoint" in loaded
    assert not loaded & {"asyncio", "httptools", "edge_agent.endpoint", "edge_agent.endpoint.server"}


def test_a_port_that_is_taken_stops_no_stream_and_is_tried_again(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    port = home.settings().http_port
    with socket.create_server(("127.0.0.1", port)):
        agent = Agent(home)
        published(signed, tmp_path, ONE)
        assign(signed, registry_side, ONE)
        registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
        assert "http-endpoint-failed" in registry_side.kinds()
        why = f"http_port {port}: Address already in use; free it, or name another in agent.toml"
        assert any(why in text for text in registry_side.told())
        assert read_status(home).endpoint == why
        line.send({"id": 1, "AT": 0, "V": 0})
        wait_until(lambda: 1 in line.predictions)
    wait_until(lambda: get(home, "/v2/health/ready")[0] == 200, 20, what="the endpoint")
    registry_side.wait_for(lambda: "http-endpoint-open" in registry_side.kinds())
    wait_until(lambda: read_status(home).endpoint == f"http://127.0.0.1:{port}")
    assert agent.stop() == 0
    agent.close()


def test_the_command_line_overrules_the_settings(home: AgentHome) -> None:
    port = free_port()
    for argument, open_port in (("0", None), (str(port), port)):
        command = [sys.executable, "-m", "genba", "agent", "run", "--home", str(home.folder), "--http-port", argument]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: home.status.exists() and read_status(home).running)
            found = wait_until(lambda process=process: (page := read_status(home)).process == process.pid and page)
            if open_port is not None:
                found = wait_until(lambda: (page := read_status(home)).endpoint and page)
            assert found.endpoint == (f"http://127.0.0.1:{open_port}" if open_port else "")
            assert get(home, "/v2")[0] == 0
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.parametrize("port", [-1, 65536, "8080"])
def test_a_port_that_is_none_is_refused_by_name(tmp_path: Path, signed: SignedReleases, port: Any) -> None:
    home = make_home(tmp_path / "other", signed, "mqtt://127.0.0.1:1", http_port=port)
    with pytest.raises(HomeError, match=r"http_port"):
        home.settings()
