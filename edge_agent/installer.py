"""The slow work on releases, in a thread of its own: ask, fetch, verify. It only reports what happened.

Proofs are slower still, and go to the prover's thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from edge_agent.errors import DoesNotFitError, ReleaseRefusedError, TransferError, TrustError
from edge_agent.lifecycle_events import (
    Assigned,
    Collect,
    Event,
    Fetch,
    Fetched,
    Postponed,
    Prove,
    Refused,
    Verified,
    Verify,
)
from edge_agent.preflight import PreflightReport
from edge_agent.prover import Proof, Prover
from edge_agent.releases import ReleaseStore
from protocols.assignment import Assignment
from protocols.manifest import Manifest
from protocols.names import ReleaseRef

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sync:
    """Ask the director what this device should run. `urgent`: in the middle of a download, which goes on after it.

    `stick`: the bundle that is asked; 0 where the network is.
    """

    urgent: bool = False
    stick: int = 0


@dataclass(frozen=True, slots=True)
class LeaveStick:
    """Forget a bundle: what it brought was installed, or refused."""

    stick: int


@dataclass(frozen=True, slots=True)
class Errand:
    """Work of another part of the agent that needs what this thread owns; `outcome` takes what it gives or raises."""

    work: Callable[[], Any]
    outcome: "Future[Any]"


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """The director's word could not be had. `refused`: it came, and cannot be trusted."""

    reason: str
    refused: bool
    stick: int = 0


@dataclass(frozen=True, slots=True)
class SyncDone:
    """The director was heard. `assigned` is False where it has signed nothing yet."""

    assigned: bool
    stick: int = 0


@dataclass(frozen=True, slots=True)
class StickLeft:
    """A bundle is gone from the home; the next one may be read."""


Job = Sync | LeaveStick | Fetch | Verify | Collect | Errand
Outcome = Event | SyncFailed | SyncDone | StickLeft


class Verification(Protocol):
    """Where assignments and releases come from, verified."""

    def assignment(self) -> Assignment | None: ...

    def fetch(self, ref: ReleaseRef, store: ReleaseStore, admit: Callable[[Manifest], None]) -> None: ...


class Downloads(Protocol):
    """The downloads on their way, over whatever transport."""

    def interrupt(self) -> None:
        """Make them fail at once, until `proceed`."""

    def proceed(self) -> None: ...

    def cancel(self) -> None:
        """Make them fail at once, for good: the agent stops."""

    def keep_only(self, releases: frozenset[ReleaseRef]) -> int:
        """Delete what is left of all others; return how many."""


class Installer:
    """Carries out jobs one after another; an urgent one goes first, and interrupts a download.

    Args:
        downloads: what an urgent job interrupts.
        check: returns a fetched release's manifest, or raises ReleaseRefusedError.
        prove: runs a release's preflight, in the prover's thread.
        admit: judges a manifest before the files that it names are fetched, and raises ReleaseRefusedError.
        tell: takes each outcome; called in the installer's thread or the prover's.
        leave: deletes a bundle that was read.
        look: what takes a while and is wanted soon, such as probing the machine; called first.
        keep_engines: deletes the engines of all other releases.
    """

    def __init__(
        self,
        verification: Verification,
        store: ReleaseStore,
        check: Callable[[ReleaseRef], Manifest],
        prove: Proof,
        tell: Callable[[Outcome], None],
        downloads: Downloads,
        *,
        admit: Callable[[Manifest, bool], None] = lambda manifest, allow_fallback: None,
        leave: Callable[[int], None] = lambda stick: None,
        look: Callable[[], object] = lambda: None,
        keep_engines: Callable[[frozenset[ReleaseRef]], object] = lambda kept: None,
    ) -> None:
        self._verification, self._store = verification, store
        self._check, self._tell, self._leave, self._look = check, tell, leave, look
        self._admit, self._downloads = admit, downloads
        self._keep_engines = keep_engines
        self._prover = Prover(prove, tell)
        self._jobs: deque[Job | None] = deque()
        self._changed = threading.Condition()
        self._in_hand: Job | None = None
        self._interrupted = False
        self._thread = threading.Thread(target=self._run, name="installer", daemon=True)
        self._errors = 0

    @property
    def errors(self) -> int:
        """Unforeseen faults outlived."""
        return self._errors + self._prover.errors

    @property
    def busy(self) -> bool:
        """Whether a release is being fetched, checked or proven, or waits for it."""
        with self._changed:
            jobs = [self._in_hand, *self._jobs]
        return self._prover.busy or any(isinstance(job, Fetch | Verify) for job in jobs)

    def start(self) -> None:
        self._thread.start()

    def do(self, job: Job | Prove) -> None:
        if isinstance(job, Prove):
            self._prover.do(job)
            return
        with self._changed:
            if isinstance(job, Sync) and job.urgent:
                if job in self._jobs:
                    return
                self._jobs.appendleft(job)
                if isinstance(self._in_hand, Fetch | Errand):
                    self._interrupted = True
                    self._downloads.interrupt()
            else:
                self._jobs.append(job)
            self._changed.notify()

    def stop(self, timeout_s: float) -> None:
        """End after the job in hand; whoever owns its downloads ends those."""
        self._prover.stop(timeout_s)
        with self._changed:
            for job in self._jobs:
                if isinstance(job, Errand):
                    job.outcome.cancel()
            self._jobs.append(None)
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._look()
        while (job := self._next()) is not None:
            try:
                self._carry_out(job)
            except Exception as error:  # a daemon's loop: one job's end is not the daemon's
                self._errors += 1
                log.exception("a job failed in an unforeseen way")
                self._tell_failure(job, f"unforeseen: {error!r}")

    def _next(self) -> Job | None:
        with self._changed:
            if self._interrupted:
                self._interrupted = False
                self._downloads.proceed()
            self._in_hand = None
            self._changed.wait_for(lambda: self._jobs)
            self._in_hand = self._jobs.popleft()
            return self._in_hand

    def _carry_out(self, job: Job) -> None:
        match job:
            case Sync():
                self._sync(job)
            case LeaveStick():
                self._leave(job.stick)
                self._tell(StickLeft())
            case Fetch():
                self._fetch(job)
            case Verify():
                self._verify(job)
            case Errand():
                _run_errand(job)
            case Collect():
                self._prover.keep_only(job.kept)
                self._downloads.keep_only(frozenset(job.kept))
                removed = self._store.collect(job.kept)
                self._keep_engines(frozenset(job.kept))
                if removed:
                    log.info("deleted releases that are no longer needed", extra={"releases": list(map(str, removed))})

    def _tell_failure(self, job: Job, reason: str) -> None:
        if isinstance(job, Sync):
            self._tell(SyncFailed(reason, refused=False, stick=job.stick))
        elif isinstance(job, LeaveStick):
            self._tell(StickLeft())
        elif isinstance(job, Fetch):
            self._tell(Postponed(job.ref, job.attempt, reason))
        elif isinstance(job, Verify):
            self._tell(Refused(job.ref, job.attempt, reason))

    def _sync(self, job: Sync) -> None:
        try:
            assignment = self._verification.assignment()
        except (TransferError, OSError) as error:
            self._tell(SyncFailed(str(error), refused=False, stick=job.stick))
        except TrustError as error:
            self._tell(SyncFailed(str(error), refused=True, stick=job.stick))
        else:
            if assignment is not None:
                self._tell(Assigned(assignment))
            self._tell(SyncDone(assignment is not None, job.stick))

    def _fetch(self, job: Fetch) -> None:
        try:
            self._verification.fetch(job.ref, self._store, lambda manifest: self._admit(manifest, job.allow_fallback))
        except DoesNotFitError as error:
            report = PreflightReport(False, str(error), "fit")
            self._tell(Refused(job.ref, job.attempt, f"preflight: {error}", msgspec.to_builtins(report)))
        except ReleaseRefusedError as error:
            self._tell(Refused(job.ref, job.attempt, str(error)))
        except (TransferError, TrustError, OSError) as error:
            if self._interrupted:
                # The director's newest word comes first: if it no longer wants this release, the fetch ends there.
                self.do(job)
                return
            self._tell(Postponed(job.ref, job.attempt, str(error)))
        else:
            self._tell(Fetched(job.ref, job.attempt))

    def _verify(self, job: Verify) -> None:
        try:
            self._check(job.ref)
        except ReleaseRefusedError as error:
            self._tell(Refused(job.ref, job.attempt, str(error)))
        except OSError as error:
            self._tell(Postponed(job.ref, job.attempt, f"it could not be checked: {error}"))
        else:
            self._tell(Verified(job.ref, job.attempt))


def _run_errand(errand: Errand) -> None:
    if not errand.outcome.set_running_or_notify_cancel():
        return
    try:
        errand.outcome.set_result(errand.work())
    except Exception as error:  # whoever asked for it has to deal with it
        errand.outcome.set_exception(error)
