"""The kit's unit shuts the agent in: what it forbids is nothing that an agent needs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from simulators.agent_process import ROOT, Line, assign, published
from simulators.broker_process import wait_until
from simulators.registry_side import RegistrySide, SignedReleases

from devices.kits.kit import render
from devices.profiles import load_profile
from edge_agent.settings import AgentHome
from protocols.names import ReleaseRef


@pytest.fixture
def traced(home: AgentHome, tmp_path: Path) -> Iterator[Path]:
    """An agent whose system calls, and those of its children, are written to a file."""
    if shutil.which("strace") is None or shutil.which("systemd-analyze") is None:
        pytest.skip("strace or systemd-analyze is not installed (Debian: apt install strace systemd)")
    trace = tmp_path / "trace"
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, sys.executable, "-m", "genba", "agent", "run", "--home", home.folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    yield trace
    for agent in psutil.Process(tracer.pid).children():
        agent.terminate()
    tracer.wait(30)


def allowed(group: str) -> set[str]:
    """Return the system calls of one of systemd's groups."""
    done = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    words = [line.strip() for line in done.stdout.splitlines()[1:]]
    inner = [allowed(word) for word in words if word.startswith("@")]
    return {word for word in words if word.isidentifier()}.union(*inner)


@pytest.mark.slow
def test_each_system_call_of_an_agent_is_one_that_the_unit_allows(
    traced: Path, signed: SignedReleases, registry_side: RegistrySide, line: Line, tmp_path: Path
) -> None:
    """From its start over fetching and proving to a swap."""
    for version in (1, 2):
        assign(signed, registry_side, published(signed, tmp_path / "made", ReleaseRef("ccpp", version)))

        def served(version: int = version) -> bool:
            line.send({"id": version, "AT": 1.0, "V": 2.0})
            return any(answer.get("version") == version for answer in line.predictions.get(version, []))

        wait_until(served, 90, f"version {version}")
    used = set(re.findall(r"^\d+\s+(\w+)\(", traced.read_text(errors="replace"), re.MULTILINE))
    assert {"execve", "prctl", "memfd_create"} <= used
    unit = render(load_profile("x86"))["genba-agent.service"]
    (group,) = re.findall(r"^SystemCallFilter=(\S+)$", unit, re.MULTILINE)
    assert used - allowed(group) == set()
