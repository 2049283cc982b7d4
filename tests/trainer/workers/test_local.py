"""Workers on this machine: what ends with them, and what does not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from simulators import trial_calls
from simulators.call_watch import appeared, begun, end, ends, gone

from trainer.errors import WorkersLostError
from trainer.workers import PRELOADED, LocalWorkers, Nursery, default_memory_bytes, default_size, warm_up

MEMORY = 256 * 2**20

#: A caller that starts two calls and then does as it is told; argv: folder, what it does.
CALLER = """
import functools, os, signal, sys, time
from pathlib import Path
from simulators import trial_calls
from trainer.workers import LocalWorkers, Nursery
folder, what = Path(sys.argv[1]), sys.argv[2]
workers = LocalWorkers(2, functools.partial(dict), 2**28, Nursery(["numpy"]))
for number in range(2):
    workers.start(trial_calls.wait, 300, str(folder / f"pid{number}"))
(folder / "nursery").write_text(str(workers._nursery._process.pid))
(folder / "files").write_text(workers._nursery.folder)
try:
    while True:
        workers.wait(60)
except KeyboardInterrupt:
    ended = workers.wait(0)
    workers.close()
    print("closed", len(ended))
"""


@pytest.fixture
def caller(tmp_path, root):
    """A process of its own group, with two workers that are busy; the process and the ids of what it started."""
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    child = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path), ""],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        pids = [int(appeared(tmp_path / name)) for name in ("pid0", "pid1", "nursery")]
        yield child, pids
    finally:
        child.kill()
        child.communicate()


def test_a_caller_that_is_killed_leaves_no_process_and_no_file(caller, tmp_path):
    child, pids = caller
    assert Path(appeared(tmp_path / "files")).is_dir()
    child.kill()
    assert all(gone(pid) for pid in pids)
    assert not Path(appeared(tmp_path / "files")).exists()


def test_a_caller_that_is_killed_before_it_has_listened_leaves_no_file(tmp_path, root):
    code = (
        "import sys, time; from trainer.workers import LocalWorkers, Nursery\n"
        "workers = LocalWorkers(2, dict, 2**28, Nursery([]))\n"
        "print(workers._nursery.folder, workers._nursery._process.pid, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    folder, nursery = child.stdout.readline().split()
    over_at = time.monotonic() + 20
    while len(psutil.Process(int(nursery)).children()) < 2:
        assert time.monotonic() < over_at
        time.sleep(0.01)
    child.kill()
    child.communicate()
    assert gone(int(nursery))
    assert not Path(folder).exists()


def test_a_nursery_that_is_killed_takes_its_workers_with_it(caller):
    _, pids = caller
    os.kill(pids[2], signal.SIGKILL)
    assert gone(pids[0])
    assert gone(pids[1])


def test_ctrl_c_is_the_callers_affair(caller):
    child, pids = caller
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.1)
    assert all(psutil.pid_exists(pid) for pid in pids)
    os.killpg(child.pid, signal.SIGINT)
    assert child.communicate(timeout=20)[0] == "closed 0\n"
    assert all(gone(pid) for pid in pids)


def test_closing_leaves_no_process_and_no_file(material, tmp_path):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    workers = LocalWorkers(2, material, MEMORY, Nursery(["numpy"]))
    workers.start(trial_calls.keep_file)
    kept = Path(end(workers).value)
    assert kept.exists()
    workers.start(trial_calls.compute_without_a_pause)
    workers.start(trial_calls.start_another, str(tmp_path / "other"))
    other = int(begun(workers, tmp_path / "other"))
    began = time.monotonic()
    workers.close()
    assert time.monotonic() - began < 0.5
    assert not kept.exists()
    assert gone(other)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_workers_that_still_load_are_closed_at_once():
    workers = LocalWorkers(2, None, MEMORY, warm_up())
    began = time.monotonic()
    workers.close()
    assert time.monotonic() - began < 0.5


def test_what_a_call_started_is_killed_with_it(local, tmp_path):
    local.start(trial_calls.start_another, str(tmp_path / "other"), limit_s=3)
    assert end(local).failure.kind == "time"
    assert gone(int(appeared(tmp_path / "other")))


def test_the_limit_holds_while_the_caller_does_something_else(local, tmp_path):
    local.start(trial_calls.process)
    end(local)
    local.start(trial_calls.wait, 300, str(tmp_path / "pid"), limit_s=0.5)
    begun(local, tmp_path / "pid")
    assert gone(int(appeared(tmp_path / "pid")), within_s=5)
    assert end(local).failure.kind == "time"


@pytest.mark.parametrize(
    ("call", "arguments", "text"),
    [
        (trial_calls.crash, (), "its process was killed by SIGSEGV"),
        (trial_calls.leave, (3,), "its process ended by itself, with exit status 3"),
        (trial_calls.leave, (0,), "its process ended by itself, with exit status 0"),
    ],
)
def test_a_process_that_ends_under_its_call_says_how(local, call, arguments, text):
    local.start(call, *arguments)
    ended = end(local)
    assert (ended.failure.kind, ended.failure.text) == ("died", text)


def test_a_call_that_wants_to_exit_ends_itself_alone(local):
    local.start(trial_calls.exit_politely)
    ended = end(local)
    assert (ended.failure.kind, ended.failure.text) == ("error", "SystemExit: enough")
    local.start(trial_calls.raise_interrupt)
    assert end(local).failure is None


def test_memory_that_no_limit_of_the_kernel_counts_is_watched(local):
    local.start(trial_calls.allocate_shared, 400)
    ended = end(local)
    assert ended.failure.kind == "memory"
    assert ended.failure.text == "it held more than the 268 MB that a worker may have"
    assert ended.peak_bytes > MEMORY


def test_the_memory_of_a_call_is_measured_for_itself(local):
    for megabytes in (150, 10):
        local.start(trial_calls.allocate, megabytes)
        ended = end(local)
        assert ended.value == megabytes * 2**17
        assert 0.9 * megabytes < ended.peak_bytes / 2**20 < megabytes + 40


def test_calls_without_material_get_their_arguments_alone():
    with LocalWorkers(1, None, MEMORY, Nursery([])) as workers:
        workers.start(trial_calls.process, "the material's place")
        assert end(workers).value > 0


@pytest.mark.parametrize("setup", [trial_calls.fail_to_load, trial_calls.die_while_loading])
def test_workers_that_cannot_be_set_up_are_lost(setup):
    with LocalWorkers(2, setup, MEMORY, Nursery([])) as workers:
        workers.start(trial_calls.process)
        with pytest.raises(WorkersLostError, match=r"no such material|died one after the other"):
            ends(workers)


def test_a_nursery_that_is_killed_is_replaced(local, tmp_path):
    ticket = local.start(trial_calls.wait, 60, str(tmp_path / "pid"))
    begun(local, tmp_path / "pid")
    local._nursery._process.kill()
    ended = end(local)
    assert (ended.ticket, ended.failure.kind) == (ticket, "died")
    local.start(trial_calls.add, 5)
    assert end(local).value == 15


def test_a_worker_that_dies_at_rest_loses_no_call(local):
    local.start(trial_calls.process)
    first = end(local).value
    os.kill(first, signal.SIGKILL)
    tickets = [local.start(trial_calls.add, 0) for _ in range(4)]
    found = ends(local, 4)
    assert sum(found[ticket].failure is None for ticket in tickets) >= 3


def test_what_workers_print_stays_off_the_terminal(local, capfd):
    local.start(trial_calls.write_to_stdout)
    assert end(local).failure is None
    assert capfd.readouterr() == ("", "")


def test_heavy_modules_are_there_before_the_first_call():
    assert "sklearn.ensemble" in PRELOADED
    with LocalWorkers(1, dict, MEMORY, Nursery(["numpy", "sklearn.linear_model", "no.such.module"])) as workers:
        workers.start(trial_calls.modules)
        assert "sklearn.linear_model" in end(workers).value


def test_the_nursery_has_one_thread_when_it_forks():
    """A lock that another thread holds would stay locked in the child for ever; jemalloc, in Arrow, sees to its own."""
    with LocalWorkers(1, dict, 2**30, warm_up()) as workers:
        workers.start(trial_calls.process)
        end(workers)
        tasks = Path(f"/proc/{workers._nursery._process.pid}/task").iterdir()
        names = sorted((task / "comm").read_text().strip() for task in tasks)
        assert len([name for name in names if name != "jemalloc_bg_thd"]) == 1, names


def test_a_new_worker_is_there_in_a_moment():
    """Loading is paid once: a worker that was killed costs a fork."""
    with LocalWorkers(1, dict, 2**30, warm_up()) as workers:
        workers.start(trial_calls.process)
        end(workers)
        began = time.monotonic()
        for _ in range(5):
            workers.start(trial_calls.leave, 1)
            end(workers)
        assert time.monotonic() - began < 2.5


def test_a_script_that_calls_at_its_top_level_is_not_run_again(tmp_path, root):
    """No guard of `if __name__ == "__main__"` is needed, as multiprocessing needs it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from simulators import trial_calls\n"
        "from trainer.workers import LocalWorkers, Nursery\n"
        "print('once')\n"
        "workers = LocalWorkers(1, dict, 2**28, Nursery([]))\n"
        "workers.start(trial_calls.leave, 0)\n"
        "print(workers.wait(20)[0].failure.kind)\n"
        "workers.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert (done.stdout, done.stderr) == ("once\ndied\n", "")


def test_the_size_and_memory_are_what_the_machine_leaves():
    assert 1 <= default_size() <= len(os.sched_getaffinity(0))
    assert default_memory_bytes(1) >= default_memory_bytes(4) >= 2**28
    assert default_memory_bytes(1) < psutil.virtual_memory().total
