"""docs/operations/http.md: its commands run, and it names every path and every metric that there is."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from simulators.local_endpoint import PAGE, Device

from edge_agent.settings import Settings
from protocols.assignment import StreamBinding
from protocols.messages import HeldRelease

RELEASES = (HeldRelease("press", 1, "confirmed"),)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.page = msgspec.structs.replace(PAGE, releases=RELEASES)
    device.start()
    device.engine.bind([StreamBinding("line", "press", "in", "out")])
    device.serve("press")
    yield device
    device.stop()


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs" / "operations" / "http.md").read_text("utf-8")


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide, re.S)


def test_the_settings_are_settings(guide: str) -> None:
    named = {"device": "press-7", "site": "osaka", "profile": "x86", "broker_url": "mqtt://127.0.0.1:1883"}
    [block] = blocks(guide, "toml")
    assert msgspec.convert(named | tomllib.loads(block), Settings).http_port == 8081


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_run(guide: str, device: Device) -> None:
    [commands] = [block for block in blocks(guide, "sh") if "curl" in block]
    script = commands.replace("8081", str(device.port)).replace("curl ", "curl -sS --fail-with-body ")
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True, timeout=30)
    about, answer = (json.loads(part) for part in done.stdout.replace("}{", "}\n{").splitlines())
    assert [tensor["name"] for tensor in about["inputs"]] == ["AT", "V"]
    [shown] = (json.loads(block) for block in blocks(guide, "json"))
    assert (answer.keys(), answer["outputs"][0].keys()) == (shown.keys(), shown["outputs"][0].keys())
    assert len(answer["outputs"][0]["data"]) == 2


def test_the_python_runs(guide: str, device: Device) -> None:
    [program] = blocks(guide, "python")
    done = subprocess.run(
        [sys.executable, "-c", program.replace("8081", str(device.port))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[-1]) == (0, "1"), done.stderr


def test_every_path_that_it_names_is_there(guide: str, device: Device) -> None:
    paths = re.findall(
        r"`(?:(GET|POST) )?(/(?:v2|metrics)[^`]*)`", guide.partition("| path |")[2].partition("Errors are")[0]
    )
    asked = [
        (method or "GET", form.replace("/M", "/press").replace("/V", "/1"))
        for method, path in paths
        for form in {path.replace("[", "").replace("]", ""), re.sub(r"\[.*\]", "", path)}
    ]
    assert len(asked) == 11
    for method, path in asked:
        assert device.ask(method, path).status == (400 if path.endswith("infer") else 200), path


def test_every_metric_is_described_and_every_one_described_is_there(guide: str, device: Device) -> None:
    device.ask("POST", "/v2/models/press/infer", b"{")
    told = re.findall(r"^# TYPE (\S+)", device.ask("GET", "/metrics").body.decode(), re.M)
    described = set()
    for row in guide.partition("| metric |")[2].splitlines()[2:]:
        stem = ""
        for name in re.findall(r"`([a-z_]+\*?)`", row.split("|")[1]):
            stem = name.rsplit("_", 2)[0] if name.endswith("_total") and not name.startswith("_") else stem
            described.add(stem + name if name.startswith("_") else name)
    assert {name for name in told if not name.startswith("process_")} == described - {"process_*"}
