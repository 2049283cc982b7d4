"""The worker: claims jobs one at a time and watches over the process that does each."""

import contextlib
import logging
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from registry import processes
from registry.catalogue import Catalogue
from registry.catalogue.jobs import Job
from registry.jobs.report import Failure, Progress, Result, decode_report, job_folder

log = logging.getLogger(__name__)

POLL_S = 0.25
#: The catalogue hears of a job's progress at most so often.
_PROGRESS_EVERY_S = 0.5
_LONGEST_LINE = 1024 * 1024


def time_limit_s(job: Job) -> float:
    """Return after how many seconds a job is stopped: three times its budget, and two minutes for all the rest."""
    return float(job.parameters.get("budget_s") or 60.0) * 3 + 120.0


class Worker:
    """Does the registry's jobs. What it was doing when it died is queued again when it starts.

    Args:
        command: the arguments of `python` that do a job; `--home DIR --job ID` is added.
        limit: seconds that a job may take.
    """

    def __init__(
        self,
        home: Path,
        clock: Callable[[], float] = time.time,
        *,
        name: str = "worker",
        command: tuple[str, ...] = ("-m", "registry.jobs.child"),
        limit: Callable[[Job], float] = time_limit_s,
    ) -> None:
        self._home, self._name, self._command, self._limit = home, name, command, limit
        self._catalogue = Catalogue.open(home, clock)
        self._stop = threading.Event()

    def stop(self) -> None:
        """Make `run` return soon. Safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Do jobs until `stop`; the one in hand is then ended, and queued again when a worker starts."""
        lost = self._catalogue.jobs.requeue_lost(self._name)
        if lost:
            log.warning("jobs that were cut off are queued again", extra={"jobs": lost})
        while not self._stop.is_set():
            try:
                job = self._catalogue.jobs.claim(self._name)
                if job is None:
                    self._stop.wait(POLL_S)
                else:
                    self._do(job)
            except Exception:  # one job, or a catalogue that is busy, must not end the worker
                log.exception("a round of the worker failed")
                self._stop.wait(1.0)

    def _do(self, job: Job) -> None:
        log.info("job begins: %s", job.kind, extra={"job": job.id, "model": job.model, "reason": job.reason})
        child = processes.start(
            [*self._command, "--home", str(self._home), "--job", str(job.id)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            outcome = self._follow(job, child)
        finally:
            _end_group(child)
            shutil.rmtree(job_folder(self._home, job.id), ignore_errors=True)
        if outcome is None:
            log.info("job is cut off by the worker's end", extra={"job": job.id})
        elif isinstance(outcome, Result):
            self._catalogue.jobs.finish(job.id, outcome.result)
            log.info("job is done", extra={"job": job.id, "result": outcome.result})
        else:
            self._catalogue.jobs.fail(job.id, outcome.reason)
            self._catalogue.events.record(
                "job-failed", f"job {job.id} ({job.kind}): {outcome.reason}", level="error", model=job.model
            )
            log.error("job failed: %s", outcome.reason, extra={"job": job.id})

    def _follow(self, job: Job, child: "subprocess.Popen[bytes]") -> Result | Failure | None:
        """Pass on what the process reports until it ends; None where this worker is told to stop first."""
        limit_s = self._limit(job)
        deadline, told, rest = time.monotonic() + limit_s, 0.0, b""
        assert child.stdout is not None  # noqa: S101 - it was asked for
        with selectors.DefaultSelector() as selector, child.stdout:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not self._stop.is_set():
                if time.monotonic() > deadline:
                    return Failure(f"it took longer than {limit_s:.0f} s and was stopped; give it a larger budget_s")
                if not selector.select(POLL_S):
                    continue
                data = os.read(child.stdout.fileno(), 65536)
                if not data:
                    return _last_words(child)
                *lines, rest = (rest + data)[-_LONGEST_LINE:].split(b"\n")
                for line in lines:
                    report = decode_report(line)
                    if isinstance(report, Progress):
                        if time.monotonic() - told > _PROGRESS_EVERY_S or report.fraction >= 1.0:
                            told = time.monotonic()
                            self._catalogue.jobs.progress(job.id, report.text, report.fraction)
                    elif report is not None:
                        return report
        return None


def _last_words(child: "subprocess.Popen[bytes]") -> Failure:
    """Say how a process ended that reported nothing."""
    try:
        status = child.wait(5)
    except subprocess.TimeoutExpired:
        return Failure("its process closed its output and did not end")
    if status < 0:
        hint = "; the machine may have too little memory" if -status == signal.SIGKILL else ""
        return Failure(f"its process was ended by {signal.Signals(-status).name}{hint}")
    return Failure(f"its process ended with status {status} and no result; its log says why")


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    """End the job's process with all that it started, and reap it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
