"""The worker and its processes: results, failures, limits, and restarts. The work itself is a few lines of Python."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry.catalogue import Catalogue
from registry.jobs.report import job_folder
from registry.jobs.worker import Worker, time_limit_s

ROOT = Path(__file__).parents[3]
DONE = "import json;print(json.dumps({'type':'result','result':{'release':'ccpp@1'}}), flush=True)"
PROGRESS = (
    "import json;print('noise');print(json.dumps({'type':'progress','text':'searching','fraction':0.5}), flush=True)"
)
WAIT = "import time;time.sleep(60)"


@pytest.fixture
def run(home):
    """Run a worker whose jobs are `python -c CODE`, until the test ends."""
    running = []

    def start(code, **options):
        worker = Worker(home, command=("-c", code), **options)
        thread = threading.Thread(target=worker.run)
        thread.start()
        running.append((worker, thread))
        return worker, thread

    yield start
    for worker, thread in running:
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()


def closed(catalogue, job):
    found = catalogue.jobs.get(job)
    return found if found.state in ("done", "failed") else None


def test_a_job_reports_its_progress_and_its_result(catalogue, run, wait_until):
    run(f"{PROGRESS};import time;time.sleep(0.8);{DONE}")
    job = catalogue.jobs.add("train", {"model": "ccpp"}, "asked for")
    left = job_folder(catalogue.home, job)
    left.mkdir(parents=True)
    wait_until(lambda: catalogue.jobs.get(job).text == "searching", "the progress")
    found = wait_until(lambda: closed(catalogue, job), "the end")
    assert (found.state, found.fraction, found.result) == ("done", 1.0, {"release": "ccpp@1"})
    assert not left.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import json;print(json.dumps({'type':'failure','reason':'no column PE'}))", "no column PE"),
        ("raise SystemExit(3)", "status 3"),
        ("import os,signal;os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL; the machine may have too little memory"),
        ("import os,time;os.close(1);os.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_a_job_that_fails_says_why_and_the_next_one_runs(catalogue, run, wait_until, code, words):
    run(code)
    jobs = [catalogue.jobs.add("train", {"model": "ccpp"}, "asked for") for _ in range(2)]
    for job in jobs:
        found = wait_until(lambda number=job: closed(catalogue, number), "the end")
        assert found.state == "failed"
        assert words in found.error
    assert {event.kind for event in catalogue.events.list(model="ccpp")} == {"job-failed"}


def test_a_job_beyond_its_time_is_stopped_with_all_it_started(catalogue, run, wait_until, tmp_path):
    pid = tmp_path / "pid"
    run(
        f"import subprocess,sys,time;c=subprocess.Popen([sys.executable,'-c','{WAIT}']);"
        f"open({str(pid)!r},'w').write(str(c.pid));time.sleep(60)",
        limit=lambda job: 1.0,
    )
    job = catalogue.jobs.add("train", {"model": "ccpp"}, "asked for")
    found = wait_until(lambda: closed(catalogue, job), "the end")
    assert "took longer than 1 s" in found.error
    grandchild = int(pid.read_text())
    wait_until(lambda: not alive(grandchild), "the grandchild's end")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_time_limit_follows_the_budget(catalogue):
    job = catalogue.jobs.get(catalogue.jobs.add("train", {"model": "ccpp", "budget_s": 100}, "asked for"))
    assert time_limit_s(job) == 420.0


def test_a_worker_that_stops_leaves_its_job_to_the_next(catalogue, run, wait_until):
    worker, thread = run(WAIT)
    job = catalogue.jobs.add("train", {"model": "ccpp"}, "asked for")
    wait_until(lambda: catalogue.jobs.get(job).state == "running", "the job")
    worker.stop()
    thread.join(5)
    assert not thread.is_alive()
    run(DONE)
    found = wait_until(lambda: closed(catalogue, job), "the end")
    assert (found.state, found.attempts) == ("done", 2)


def test_a_worker_that_is_killed_takes_its_job_along_and_the_next_does_it(home, catalogue, run, wait_until, tmp_path):
    pid = tmp_path / "pid"
    work = (
        "from registry.processes import die_with_parent;die_with_parent(9);import os,time;"
        f"open({str(pid)!r},'w').write(str(os.getpid()));time.sleep(60)"
    )
    code = (
        "from registry.jobs.worker import Worker;from pathlib import Path;"
        f"Worker(Path({str(home)!r}),command=('-c',{work!r})).run()"
    )
    job = catalogue.jobs.add("train", {"model": "ccpp"}, "asked for")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: pid.exists() and pid.read_text(), "the job")
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not alive(int(pid.read_text())), "the job's end")
    run(DONE)
    assert wait_until(lambda: closed(catalogue, job), "the end").attempts == 2


def test_a_job_that_always_takes_its_worker_down_is_given_up(home, catalogue, run, wait_until):
    job = catalogue.jobs.add("train", {"model": "ccpp"}, "asked for")
    for _ in range(3):
        assert Catalogue.open(home).jobs.claim("worker") is not None
        Catalogue.open(home).jobs.requeue_lost("worker")
    run(DONE)
    found = wait_until(lambda: closed(catalogue, job), "the end")
    assert "died 3 times" in found.error
