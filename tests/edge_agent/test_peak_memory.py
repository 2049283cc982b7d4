"""What a process took, where the kernel tells all of it and where a container hides some."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from simulators.small_models import write_release

from edge_agent.peak_memory import PeakMemory, peak_bytes
from edge_agent.preflight import Limits, prove
from edge_agent.session_plan import SessionPlan

MIB = 1024 * 1024


def told(folder: Path, now: int, peak: int | None) -> None:
    """Write what a kernel without clear_refs tells, in MiB; some sandboxes tell no peak."""
    folder.mkdir(exist_ok=True)
    lines = [f"VmHWM:\t{peak * 1024} kB\n"] if peak else []
    (folder / "status").write_text("".join(["Name:\tpython\n", *lines, f"VmRSS:\t{now * 1024} kB\n"]))


def no_reset(folder: Path) -> Path:
    (folder / "proc" / "clear_refs").mkdir(parents=True)  # opening it for writing fails, for root as well
    return folder / "proc"


def test_the_growth_of_this_process_is_its_peak_not_what_is_left(tmp_path: Path) -> None:
    script = (
        "import json; from edge_agent.peak_memory import PeakMemory; big = bytearray(400 << 20); del big\n"
        "memory = PeakMemory(); some = bytearray(b'x') * (100 << 20); del some\n"
        "print(json.dumps(memory.growth_bytes() >> 20))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) in range(95, 130)


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        ((100, 150), (120, 180), 80),  # a new peak: all of it
        ((100, 150), (120, 150), 20),  # the peak is from before, when it was no model's
        ((100, 150), (90, 150), 0),
    ],
)
def test_a_kernel_that_cannot_set_the_peak_back_tells_what_it_can(
    tmp_path: Path, before: tuple[int, int], after: tuple[int, int], grown: int
) -> None:
    proc = no_reset(tmp_path)
    told(proc, *before)
    memory = PeakMemory(proc)
    told(proc, *after)
    assert memory.growth_bytes() == grown * MIB


def test_a_container_that_tells_no_peak_has_the_one_of_getrusage(tmp_path: Path) -> None:
    proc = no_reset(tmp_path)
    told(proc, 1, None)
    assert MIB < peak_bytes(proc) < 1 << 40
    memory = PeakMemory(proc)
    told(proc, 5, None)
    assert memory.growth_bytes() in (4 * MIB, peak_bytes(proc) - MIB)


def test_nothing_told_is_no_growth(tmp_path: Path) -> None:
    assert PeakMemory(tmp_path / "gone").growth_bytes() < 10 * MIB
    assert peak_bytes(tmp_path / "gone") > MIB


def test_a_preflight_runs_where_proc_shows_nothing(tmp_path: Path) -> None:
    """No clear_refs, no oom_score_adj, no status, as a sandbox that makes its own /proc may have it."""
    apart = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" "$@"']
    try:
        subprocess.run([*apart, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespace here: {error}")
    write_release(tmp_path / "release")
    command = [*apart, sys.executable, "-m", "edge_agent.examination"]
    limits = Limits(60, 1 << 33)  # what is left to ask counts the peak of whoever started it, this test run, as well
    report = prove(tmp_path / "release", SessionPlan(), limits, command=command)
    assert report.passed, report.reason
