"""Proofs, in a thread beside the installer's: an engine may take half an hour to build, and the director's word not."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

from edge_agent.lifecycle_events import Postponed, Prove, Proven, Proving, Refused
from edge_agent.preflight import PreflightReport
from protocols.errors import GenbaError
from protocols.names import ReleaseRef

log = logging.getLogger(__name__)

Tell = Callable[[Proving | Proven | Postponed | Refused], None]


class Proof(Protocol):
    """Runs a release's preflight, or raises a GenbaError (it does not fit this device)."""

    def __call__(self, ref: ReleaseRef, allow_fallback: bool, cancelled: Callable[[], bool]) -> PreflightReport: ...


class _Job:
    """One proof that was asked for, until it is told or nobody wants it any more."""

    def __init__(self, wanted: Prove) -> None:
        self.wanted = wanted
        self.cancelled = threading.Event()


class Prover:
    """Proves releases one after another; its thread lives while there are any.

    Args:
        tell: takes each outcome; called in the prover's thread.
    """

    def __init__(self, prove: Proof, tell: Tell) -> None:
        self._prove, self._tell = prove, tell
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.errors = 0

    def do(self, wanted: Prove) -> None:
        with self._lock:
            self._jobs.append(_Job(wanted))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="prover", daemon=True)
                self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a release is being proven, or waits for it."""
        with self._lock:
            return bool(self._jobs)

    def keep_only(self, releases: Collection[ReleaseRef]) -> None:
        """End the proofs of all others; nothing is told of them."""
        with self._lock:
            for job in self._jobs:
                if job.wanted.ref not in releases:
                    job.cancelled.set()

    def stop(self, timeout_s: float) -> None:
        """End what is being proven; a restart begins it anew."""
        self.keep_only(())
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        while (job := self._first()) is not None:
            try:
                self._carry_out(job)
            except Exception as error:  # a daemon's loop: one proof's end is not the daemon's
                self.errors += 1
                log.exception("a proof failed in an unforeseen way")
                self._refuse(job, f"unforeseen: {error!r}")
            with self._lock:
                self._jobs.remove(job)

    def _first(self) -> _Job | None:
        """Return the oldest proof, which stays in the queue until it is done, so that it can be cancelled."""
        with self._lock:
            if not self._jobs:
                self._thread = None
                return None
            return self._jobs[0]

    def _carry_out(self, job: _Job) -> None:
        if job.cancelled.is_set():
            return
        wanted = job.wanted
        self._tell(Proving(wanted.ref, wanted.attempt))
        try:
            report = self._prove(wanted.ref, wanted.allow_fallback, job.cancelled.is_set)
        except GenbaError as error:
            self._refuse(job, str(error))
            return
        except OSError as error:  # of the disk or the machine, not of the release: it may pass
            log.warning("a proof is put off: %s", error, exc_info=True)
            if not job.cancelled.is_set():
                self._tell(Postponed(wanted.ref, wanted.attempt, f"it could not be proven: {error}"))
            return
        detail = msgspec.to_builtins(report)
        if not report.passed:
            self._refuse(job, f"preflight: {report.reason}", detail)
        elif not job.cancelled.is_set():
            self._tell(Proven(wanted.ref, wanted.attempt, detail))

    def _refuse(self, job: _Job, reason: str, detail: dict[str, object] | None = None) -> None:
        if not job.cancelled.is_set():
            self._tell(Refused(job.wanted.ref, job.wanted.attempt, reason, detail or {}))
