"""The whole loop, as `make demo` runs it: a minute of real processes, so CI runs it as its sample of the slow tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "genba", "demo", *arguments]


def left_over(home: Path) -> list[str]:
    """Return the command lines of processes that still speak of this home."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(home) in line]


@pytest.mark.sample
def test_the_loop_closes_on_the_power_plant(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--report", str(tmp_path / "demo.json"), "--home", str(tmp_path / "home")),
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "demo.json").read_bytes())
    assert report["closed"] is True
    assert report["lost_predictions"] == 0
    assert report["served_predictions"] > 1000
    assert report["error"]["metric"] == "RMSE"
    assert report["error"]["before"] < report["error"]["drifted"]
    assert report["error"]["after"] < report["error"]["drifted"] / 2
    assert [release["version"] for release in report["releases"]] == [1, 2]
    assert len({release["digest"] for release in report["releases"]}) == 2
    assert 0 < report["telemetry_bytes"] < report["raw_bytes"]
    assert left_over(tmp_path / "home") == []


def test_the_loop_closes_on_an_own_table(tmp_path: Path, data_dir: Path) -> None:
    table = data_dir / "ai4i2020" / "ai4i2020.csv.gz"
    done = subprocess.run(
        command("--data", str(table), "--target", "Machine failure", "--report", str(tmp_path / "demo.json")),
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "demo.json").read_bytes())
    assert report["closed"] is True
    assert report["error"]["after"] < report["error"]["drifted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    demo = subprocess.Popen(command("--home", str(home)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (home / "registry" / "run" / "serve.json").exists():
            assert demo.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(demo.pid, number)
        demo.wait(30)
    finally:
        demo.kill()
        demo.wait()
    assert left_over(home) == []


def test_a_home_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = subprocess.run(command("--home", str(tmp_path)), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"genba: {tmp_path} is not empty; name a new folder for --home\n"
