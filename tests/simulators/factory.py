"""A registry, its broker with mutual TLS and its devices: each a process of its own, on this machine or on a board."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulators.broker_process import wait_until
from simulators.secure_broker import SecureBroker
from simulators.small_models import write_release

from protocols.names import ReleaseRef
from registry.catalogue import Catalogue
from registry.enrolment import create_token
from registry.publication import publish

ROOT = Path(__file__).resolve().parents[2]


class Programs:
    """`genba` processes that end with the test; what each says is in NAME.log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        name: str,
        *words: str,
        python: str | Path = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Run `genba` with these words, by a Python of ours or of a board."""
        with (self._folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [python, "-m", "genba", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            )
        self._started.append(child)
        return child

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def close(self) -> None:
        for child in self._started:
            child.send_signal(signal.SIGTERM)
        for child in self._started:
            child.wait(60)


class Factory:
    """One registry with its broker, and what can be done there."""

    def __init__(
        self, home: Path, broker: SecureBroker, catalogue: Catalogue, programs: Programs, folder: Path
    ) -> None:
        self.home, self.broker, self.catalogue, self.folder = home, broker, catalogue, folder
        self._programs = programs
        self.registry = programs.start(
            "registry", "registry", "serve", "--home", str(home), "--port", "0", "--broker", broker.url
        )
        wait_until(lambda: "registry: http" in self.log("registry"), 40, "the registry")
        self.url = json.loads((home / "run" / "serve.json").read_text())["url"]

    def log(self, name: str) -> str:
        return self._programs.log(name)

    def enrol(
        self, device: str, *, profile: str = "x86", python: str | Path = sys.executable, tune_s: float = 0
    ) -> Path:
        """Enrol a device; what it is given is tuned for so many seconds, by default not at all."""
        token = create_token(self.home, self.catalogue, device, "osaka", 60.0, time.time)
        home = self.folder / device
        words = ["--registry", self.url, "--token", token, "--device", device, "--site", "osaka", "--profile", profile]
        enrolled = self._programs.start(f"{device}.enrol", "agent", "enrol", "--home", str(home), *words, python=python)
        assert enrolled.wait(60) == 0, self.log(f"{device}.enrol")
        with (home / "agent.toml").open("a") as settings:
            settings.write(f"tune_s = {tune_s}\n")
        return home

    def run(self, home: Path, name: str = "", *words: str, **options: Any) -> "subprocess.Popen[bytes]":
        return self._programs.start(name or home.name, "agent", "run", "--home", str(home), *words, **options)

    def status(self, home: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((home / "status.json").read_text())
        except FileNotFoundError:
            return {"connected": False}
        return found

    def online(self, device: str) -> bool:
        return self.catalogue.devices.get(device).online

    def events(self, device: str) -> list[str]:
        """The kinds of its events, the newest first."""
        return [event.kind for event in self.catalogue.events.list(device=device)]

    def publish(self, candidate: Path | None = None, **release: Any) -> ReleaseRef:
        """Publish a candidate's folder, or a small model made for it."""
        folder = candidate or self.folder / f"candidate-{time.monotonic_ns()}"
        if candidate is None:
            write_release(folder, version=0, **release)
        if not (folder / "report.json").exists():
            (folder / "report.json").write_text("{}")
        return publish(self.home, self.catalogue, folder, time.time, published_by="test").release
