"""The guide's commands, as they stand there: one plant from the first command to a device that is locked out."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from simulators.broker_process import wait_until
from simulators.secure_broker import free_port

from registry.catalogue import Catalogue
from registry.cli import init

GUIDE = Path(__file__).parents[3] / "docs" / "operations" / "broker.md"
#: What goes on until it is stopped.
LASTING = ("mosquitto -c", "genba registry serve", "genba agent run")


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def users(path: Path) -> list[str]:
    return re.findall(r"^user (\S+)", path.read_text("utf-8"), re.MULTILINE)


@pytest.fixture
def bench(tmp_path):
    """A folder where `genba` is the program under test, and where lasting commands end with the test."""
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    program = tmp_path / "bin" / "genba"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m genba "$@"\n')
    program.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": str(GUIDE.parents[2]), "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def run(command: str) -> None:
        with (tmp_path / "log").open("ab") as log:
            given = {"shell": True, "cwd": tmp_path, "env": environment, "stdout": log, "stderr": log}
            if command.startswith(LASTING):
                started.append(subprocess.Popen(f"exec {command}", **given))
            else:
                done = subprocess.run(command, **given, check=False, timeout=60)
                assert done.returncode == 0, f"{command}\n{(tmp_path / 'log').read_text()}"

    yield run
    for child in reversed(started):
        child.send_signal(signal.SIGTERM)
        child.wait(20)


@pytest.mark.slow
@pytest.mark.sample
def test_the_guide_leads_from_nothing_to_a_device_that_is_locked_out(bench, tmp_path):
    home, port, web = tmp_path / "registry-home", free_port(), free_port()
    init(home)
    catalogue = Catalogue.open(home)
    waits = {
        "mosquitto -c": lambda: (tmp_path / "broker" / "mosquitto.pid").exists(),
        "genba registry serve": lambda: "registry: http" in (tmp_path / "log").read_text(),
        "genba agent run": lambda: catalogue.devices.get("press-7").online,
    }
    for command in commands():
        adapted = command.replace("/etc/mosquitto/genba", str(tmp_path / "broker"))
        adapted = adapted.replace("--host registry.example", f"--port {web} --host 127.0.0.1")
        adapted = adapted.replace("https://registry.example:8080", f"http://127.0.0.1:{web}")
        adapted = adapted.replace("--host broker.example", f"--port {port} --bind 127.0.0.1 --host 127.0.0.1")
        bench(adapted.replace("broker.example:8883", f"127.0.0.1:{port}"))
        ready = next((wait for start, wait in waits.items() if command.startswith(start)), None)
        if ready is not None:
            wait_until(ready, 40, command)
    assert "topic write plant/press-7/sensors" in (tmp_path / "broker" / "plant.acl").read_text()
    wait_until(lambda: users(tmp_path / "broker" / "access.acl") == ["registry", "line-gateway"], 20, "the list")
    assert catalogue.devices.get("press-7").revoked_at is not None
    catalogue.close()
