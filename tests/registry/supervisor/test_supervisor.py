"""`genba registry serve` from outside: comes up whole, heals itself, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from protocols.errors import BrokerAddressError
from registry.errors import HomeServedError, OperatorError
from registry.mqtt.state import read_state
from registry.supervisor import serve

ROOT = Path(__file__).parents[3]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def healthy(url):
    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as reply:  # noqa: S310 - http on this machine
        return reply.status == 200


def test_it_comes_up_whole_and_stops_leaving_nothing(serving, home):
    running = serving()
    state = running.ready()
    assert healthy(state["url"])
    assert set(state["pids"]) == {"supervisor", "broker", "web", "mqtt", "jobs"}
    assert state["broker_url"].startswith("mqtt://127.0.0.1:")
    assert read_state(home).connected
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 5
    assert [name for name, pid in state["pids"].items() if alive(pid)] == []
    assert not (home / "run" / "serve.json").exists()


def test_its_broker_comes_back_where_the_agents_know_it(serving):
    first = serving()
    address = first.ready()["broker_url"]
    assert first.stop() == 0
    assert serving().ready()["broker_url"] == address


def test_a_part_that_dies_is_started_again(serving, wait_for):
    running = serving()
    before = running.ready()["pids"]
    for name in ("jobs", "mqtt"):
        os.kill(before[name], signal.SIGKILL)
    wait_for(lambda: all(running.state()["pids"].get(n) not in (None, before[n]) for n in ("jobs", "mqtt")), "both")
    after = running.state()["pids"]
    assert (after["web"], after["broker"]) == (before["web"], before["broker"])
    wait_for(lambda: read_state(running.home).pid == after["mqtt"] and read_state(running.home).connected, "MQTT")
    assert "mqtt ended with status -9; starting it again" in running.log()


def test_a_supervisor_that_is_killed_takes_its_parts_along(serving, wait_for):
    running = serving()
    pids = running.ready()["pids"]
    running.stop(signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids.values()), "the parts to end", 8)


def test_ctrl_c_is_an_orderly_stop(serving):
    running = serving()
    pids = running.ready()["pids"]
    assert running.stop(signal.SIGINT) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert "Traceback" not in running.log()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": "taken"}, "is in use by another process; choose another with --port"),
        ({"broker_url": "mqtt://127.0.0.1:1"}, "broker mqtt://127.0.0.1:1: Connection refused"),
        ({"broker_url": "mqtt://broker.example:1883"}, "is unencrypted"),
        ({"broker_url": "http://127.0.0.1"}, "is not a broker's address"),
        ({"broker_url": "mqtts://me:secret@127.0.0.1"}, "a password does not belong into an address"),
        ({"home": Path("/nonexistent")}, "genba registry init"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(home, taken_port, options, words):
    if options.get("port") == "taken":
        options = {"port": taken_port}
    with pytest.raises((OperatorError, BrokerAddressError)) as caught:
        serve(**{"home": home, "port": 0, **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_second_supervisor_of_a_home_is_refused_and_the_broker_keeps_its_port(home, serving):
    serving().ready()
    kept = (home / "run" / "broker-port").read_text()
    with pytest.raises(HomeServedError, match="stop that one first"):
        serve(home, port=0)
    assert (home / "run" / "broker-port").read_text() == kept


def test_a_port_in_use_is_one_clear_line(home, taken_port):
    command = [sys.executable, "-m", "genba", "registry", "serve", "--home", str(home), "--port", str(taken_port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"port {taken_port} on 127.0.0.1 is in use" in done.stderr
