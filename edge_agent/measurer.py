"""Measuring jobs: graphs that are not released, timed beside what serves, one at a time, in a thread of their own.

Serving goes first. A job waits until nothing is fetched or proven and no stream has a backlog; it gives way where one
grows meanwhile. The graph runs in the preflight's child alone; its files are deleted whatever becomes of it, by the
next start too.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.errors import ReleaseRefusedError, TransferError, TrustError
from edge_agent.measured_memory import MOST_TRIES, MeasuredMemory
from protocols.measuring import DeviceFigures, MeasuringOrder, RunningMeasurement, Step

log = logging.getLogger(__name__)

#: How long nothing may wait before a job begins, and how often that is looked at, in seconds.
_QUIET_S, _LOOK_S = 1.0, 0.2
_FIRST_RETRY_S, _LONGEST_RETRY_S = 2.0, 120.0


@dataclass(frozen=True, slots=True)
class MeasuringDone:
    """A job has an outcome, which the registry is to hear."""

    order: MeasuringOrder
    figures: DeviceFigures


class Orders(Protocol):
    """Where jobs come from, verified."""

    def orders(self) -> tuple[MeasuringOrder, ...]:
        """Return what the director has signed for this device to measure.

        Raises:
            TransferError, TrustError, OSError: not now.
        """

    def fetch(self, order: MeasuringOrder, folder: Path) -> bool:
        """Bring a job's files into a folder, each as it was signed; False where it is not signed any more.

        Raises:
            ReleaseRefusedError: a file is not what was signed, or too large for this device.
            TransferError, TrustError, OSError: not now.
        """


class Examine(Protocol):
    """Times the graph in a folder, in a child; never raises for what the graph does."""

    def __call__(self, folder: Path, seconds: float, cancelled: Callable[[], bool]) -> DeviceFigures: ...


class Measurer:
    """Takes jobs while there are any; its thread lives as long.

    Args:
        folder: where a job's files lie meanwhile; whatever is in it at the start is deleted.
        refusal: makes the figures of a job that was not measured, from the reason.
        tell: takes each outcome, in the measurer's thread; `reported` is called once it is safe.
        backlog: sensor messages that wait, and whether something is fetched or proven.
        now: the time by which a job expires, seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        memory: MeasuredMemory,
        source: Orders,
        examine: Examine,
        refusal: Callable[[str], DeviceFigures],
        tell: Callable[[MeasuringDone], None],
        *,
        busy: Callable[[], bool],
        backlog: Callable[[], int],
        now: Callable[[], float] = time.time,
        most_backlog: int = 64,
    ) -> None:
        self._folder, self._memory, self._source = folder, memory, source
        self._examine, self._refusal, self._tell = examine, refusal, tell
        self._busy, self._backlog, self._now, self._most_backlog = busy, backlog, now, most_backlog
        self._wanted = 0
        self._told: set[int] = set()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._running: RunningMeasurement | None = None
        self.errors = 0

    @property
    def running(self) -> RunningMeasurement | None:
        """The job in hand."""
        return self._running

    def start(self) -> None:
        """Delete what an end without warning has left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def heard(self, number: int) -> None:
        """Look for jobs, where this number is news; called by the daemon."""
        with self._changed:
            if number <= max(self._memory.done, *self._told, 0) or self._stopped.is_set():
                return
            self._wanted = max(self._wanted, number)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="measurer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wake(self) -> None:
        """The link is back: do not wait for the next try."""
        with self._changed:
            self._changed.notify_all()

    def reported(self, number: int) -> None:
        """The outcome is safe in the outbox.

        Raises:
            OSError: the disk takes nothing; the job may be measured once more after a restart.
        """
        self._memory.finish(number)

    def stop(self, timeout_s: float) -> None:
        """End the job in hand, if there is one; a restart begins it anew."""
        self._stopped.set()
        self.wake()
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        tries = 0
        while True:
            try:
                looked = self._round()
                tries = 0
            except (TransferError, TrustError, OSError) as error:
                log.warning("a measuring job is put off: %s", error)
                looked, tries = None, tries + 1
            except Exception:  # a daemon's loop: one job's end is not the daemon's
                self.errors += 1
                log.exception("measuring failed in an unforeseen way")
                looked, tries = None, tries + 1
            finally:
                self._running = None
                shutil.rmtree(self._folder, ignore_errors=True)
            with self._changed:
                if self._stopped.is_set() or (looked is not None and looked >= self._wanted):
                    self._thread = None
                    return
                if looked is None:
                    self._changed.wait(min(_FIRST_RETRY_S * 2.0 ** min(tries, 10), _LONGEST_RETRY_S))

    def _round(self) -> int:
        """Do what waits; return the newest number that was heard of before it was looked."""
        with self._changed:
            wanted = self._wanted
        for order in self._source.orders():
            if self._stopped.is_set():
                break
            if order.number > self._memory.done and order.number not in self._told:
                self._carry_out(order)
        return wanted

    def _carry_out(self, order: MeasuringOrder) -> None:
        """Measure one job, or let it expire: that the registry sees by itself."""
        while not self._stopped.is_set() and self._await_quiet(order):
            self._step(order, "fetching")
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            try:
                if not self._source.fetch(order, self._folder):
                    return
            except ReleaseRefusedError as error:
                self._done(order, self._refusal(str(error)))
                return
            if not self._memory.begin(order.number):
                reason = f"the agent ended {MOST_TRIES} times while it measured this; it is not tried again"
                self._done(order, self._refusal(reason))
                return
            self._step(order, "measuring")
            figures = self._examine(self._folder, order.seconds, self._must_end)
            if not self._must_end():
                self._done(order, figures)
                return
            self._memory.put_off()
            log.info("a measuring job gives way to what is served", extra={"measurement": order.number})

    def _await_quiet(self, order: MeasuringOrder) -> bool:
        """Wait until serving leaves room; False where the job expires first."""
        quiet_since: float | None = None
        while self._now() < order.expires_at and not self._stopped.is_set():
            if self._busy() or self._backlog() > self._most_backlog // 8:
                quiet_since = None
                self._step(order, "waiting")
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= _QUIET_S:
                return True
            self._stopped.wait(_LOOK_S)
        return False

    def _must_end(self) -> bool:
        return self._stopped.is_set() or self._backlog() > self._most_backlog

    def _step(self, order: MeasuringOrder, step: Step) -> None:
        running = self._running
        if running is None or (running.job, running.step) != (order.number, step):
            self._running = RunningMeasurement(order.number, order.model, self._now(), step)

    def _done(self, order: MeasuringOrder, figures: DeviceFigures) -> None:
        self._told.add(order.number)
        self._running = None
        self._tell(MeasuringDone(order, figures))
