"""A registry that really serves, broker and all, with a small real release in it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from simulators.small_models import write_release

import genba
from registry.cli import init
from registry.client.rest import RegistryClient


@dataclass(frozen=True)
class Serving:
    """One registry and its client."""

    url: str
    token: str
    client: RegistryClient


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("registry")
    token = init(folder / "home")
    command = [sys.executable, "-m", "genba", "registry", "serve", "--home", str(folder / "home"), "--port", "0"]
    with (folder / "serve.log").open("wb") as log:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "PYTHONPATH": str(root)}
        )
    assert child.stdout is not None
    assert "http://" in child.stdout.readline(), (folder / "serve.log").read_text()
    url = json.loads((folder / "home" / "run" / "serve.json").read_text())["url"]
    client = RegistryClient(url, token)
    write_release(folder / "ccpp", name="ccpp", version=0)
    assert genba.main(["publish", str(folder / "ccpp"), "--registry", url, "--token", token]) == 0
    yield Serving(url, token, client)
    child.send_signal(signal.SIGTERM)
    child.wait(20)
    child.stdout.close()
