"""What is measured of a command from outside."""

import sys
from pathlib import Path

import psutil
from _watched import watch

HOLDS = "import time; held = bytearray(150_000_000); time.sleep(1.5)"


def test_memory_of_a_commands_children_counts(tmp_path: Path) -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}], check=True)"
    found = watch([sys.executable, "-c", parent], tmp_path, 60)
    assert not found.failure
    assert found.wall_s > 1.5
    assert found.peak_bytes > 150_000_000


def test_a_command_past_its_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    parent = (
        "import pathlib, subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "pathlib.Path('child').write_text(str(child.pid)); child.wait()"
    )
    found = watch([sys.executable, "-c", parent], tmp_path, 2)
    assert found.status == -9
    assert found.failure.startswith("killed after")
    assert found.wall_s < 30
    child = int((tmp_path / "child").read_text())
    gone, _ = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert gone or not psutil.pid_exists(child)


def test_a_failure_is_told_by_the_last_line(tmp_path: Path) -> None:
    found = watch([sys.executable, "-c", "print('so'); raise SystemExit('no such column')"], tmp_path, 60)
    assert found.failure.startswith("exit status 1 after")
    assert found.failure.endswith("no such column")
