"""A registry's home made by its own command, and the supervisor in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.cli import init

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s} s for {what}")


@pytest.fixture(scope="session", name="wait_for")
def _wait_for() -> Callable[..., Any]:
    return wait_for


@pytest.fixture
def home(tmp_path) -> Path:
    folder = tmp_path / "registry"
    init(folder)
    return folder


class Serving:
    """`genba registry serve`, and what it started."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.stderr = (home.parent / "serve.log").open("wb")
        self.child = subprocess.Popen(
            [sys.executable, "-m", "genba", "registry", "serve", "--home", str(home), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=ENVIRONMENT,
            text=True,
        )

    def ready(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line.startswith("registry: http"), (self.home.parent / "serve.log").read_text()
        return self.state()

    def state(self) -> dict[str, Any]:
        return json.loads((self.home / "run" / "serve.json").read_text())

    def log(self) -> str:
        return (self.home.parent / "serve.log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            return self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def close(self) -> None:
        self.stop()
        self.child.stdout.close()
        self.stderr.close()


@pytest.fixture
def serving(home):
    started: list[Serving] = []

    def start(*options: str) -> Serving:
        started.append(Serving(home, *options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
