"""The daemon's main loop: events in, the lifecycle's rules, actions out. Everything it touches is given to it."""

import contextlib
import logging
import queue
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.disk import sweep
from edge_agent.errors import EngineMissingError, ReleaseDamagedError
from edge_agent.installer import Downloads, Installer, Outcome, StickLeft, Sync, SyncDone, SyncFailed
from edge_agent.lifecycle import State, step
from edge_agent.lifecycle_events import (
    Action,
    Activate,
    Activated,
    ActivationFailed,
    Bind,
    Collect,
    ConfirmAfter,
    ConfirmDue,
    Deactivate,
    Event,
    Fetch,
    Prove,
    Report,
    Settle,
    Started,
    Steady,
    Verify,
)
from edge_agent.link import Link
from edge_agent.local_endpoint import LocalEndpoint
from edge_agent.measurer import Measurer, MeasuringDone
from edge_agent.memory import Memory
from edge_agent.outbox import Outbox
from edge_agent.reporting import Reporter
from edge_agent.service_manager import ServiceManager
from edge_agent.settings import AgentHome, Settings
from edge_agent.status import StatusPage, write_status
from edge_agent.stick import clear_bundles
from edge_agent.stick_reader import StickReader
from edge_agent.streams import StreamEngine
from edge_agent.switchboard import Heard, LinkDown, LinkUp, Switchboard
from edge_agent.timers import Timers
from protocols.assignment import Assignment
from protocols.errors import GenbaError, ManifestError
from protocols.measuring import MEASURED_EVENT, Measured
from protocols.messages import Ack, AssignmentChanged, Building, HeldRelease, MeasuringChanged, Status
from protocols.names import ReleaseRef
from protocols.renewal import RenewalReply
from protocols.topics import DeviceTopics

if TYPE_CHECKING:
    from edge_agent.inference import Model

log = logging.getLogger(__name__)

_TICK_S = 2.0
#: How often status.json is renewed though nothing in it changed but the time.
_PAGE_S = 10.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 5.0, 600.0
_DRAIN_S, _FLUSH_S = 3.0, 2.0
#: The state of a release that an action is for.
_STATES = {Fetch: "assigned", Verify: "fetched", Prove: "verified"}
#: A daemon that has run this long did not die of its start.
_STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class Stop:
    """End in good order."""


Inbox = queue.SimpleQueue["Outcome | LinkUp | LinkDown | Heard | MeasuringDone | Stop"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the daemon is made of; built in one place, `edge_agent.assembly`."""

    home: AgentHome
    settings: Settings
    topics: DeviceTopics
    inbox: Inbox
    engine: StreamEngine
    link: Link
    switchboard: Switchboard
    downloads: Downloads
    installer: Installer
    outbox: Outbox
    reporter: Reporter
    renew: Callable[..., None]
    memory: Memory
    service: ServiceManager
    endpoint: LocalEndpoint
    load: "Callable[[ReleaseRef, bool], Model]"
    share: Callable[[int], None]
    facts: Callable[[], dict[str, Any]]
    building: Callable[[], Mapping[ReleaseRef, Building]]
    measurer: Measurer
    keep_time: Callable[[], None]
    agent_version: str
    instance: str


class Daemon:
    """Runs until it is told to stop. Its main loop owns the state; other threads only put events into the inbox."""

    def __init__(
        self, parts: Parts, *, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._timers = Timers(ticks)
        self._state = State()
        self._stopping = False
        self._link = "connecting"
        self._retries: dict[ReleaseRef, Fetch | Verify | Prove] = {}
        self._syncing = False
        self._sync_again = False
        self._sync_tries = 0
        self._sticks = StickReader(parts.home, parts.installer.do, parts.reporter)
        self._window_number = 0
        self._page: StatusPage | None = None
        #: Why the state could not be stored, and why the disk takes nothing, as far as that was told.
        self._unsaved: str | None = None
        self._disk_fault: str | None = None
        self.errors = 0

    def stop(self) -> None:
        """Ask for an end in good order; safe in a signal handler."""
        self._parts.inbox.put(Stop())

    @property
    def page(self) -> StatusPage | None:
        """The newest status page; None before the start."""
        return self._page

    def run(self) -> None:
        """Serve until `stop`."""
        self._start()
        while not self._stopping:
            try:
                event = self._parts.inbox.get(timeout=self._timers.wait_s(_TICK_S))
            except queue.Empty:
                event = None
            try:
                if event is not None:
                    self._handle(event)
                for call in self._timers.due():
                    call()
            except Exception:  # the daemon's loop: one event's end is not the daemon's
                self.errors += 1
                log.exception("an event failed in an unforeseen way")
        self._finish()

    def _start(self) -> None:
        with contextlib.suppress(OSError):  # a disk that takes nothing is told of later, and stops nothing
            sweep(self._parts.home.folder)
            clear_bundles(self._parts.home)
        self._state, clean = self._parts.memory.load()
        self._parts.engine.start()
        self._parts.installer.start()
        self._parts.measurer.start()
        self._parts.link.subscribe(frozenset({self._parts.topics.all_down}))
        self._apply(Started(clean))
        self._parts.link.start()
        self._parts.reporter.event("agent-started", "info", f"agent {self._parts.agent_version} started")
        self._timers.after(_STEADY_S, lambda: self._apply(Steady()))
        self._open_windows()
        self._parts.endpoint.begin(lambda: self._page)
        self._tick()
        self._poll()

    def _handle(self, event: "Outcome | LinkUp | LinkDown | Heard | MeasuringDone | Stop") -> None:
        match event:
            case Stop():
                self._stopping = True
            case LinkUp():
                self._link_up()
            case LinkDown():
                self._link_down(event.reason)
            case Heard():
                self._heard(event.message)
            case SyncDone() | SyncFailed():
                self._synced(event)
            case StickLeft():
                self._sticks.left()
            case MeasuringDone():
                self._measured(event)
            case _:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        """Let the rules decide, remember, then act."""
        state, actions = step(self._state, event)
        if state != self._state or isinstance(event, Started):
            self._state = state
            self._save()
            if state.assignment is not None:
                self._parts.share(len(state.assignment.releases))
        for action in actions:
            self._act(action)
        self._show()

    def _save(self, *, clean: bool = False) -> None:
        """Store the state. A disk that takes nothing stops nothing but deletions.

        A restart then begins from the state before it, and everything that this one names is still there.
        """
        try:
            self._parts.memory.save(self._state, clean=clean)
        except OSError as error:
            self._unsaved = error.strerror or str(error)
        else:
            self._unsaved = None

    def _check_disk(self) -> None:
        """Tell once when the disk takes nothing any more, and go on by itself when it does again."""
        if self._unsaved is not None:
            self._save()
        self._parts.outbox.settle()
        fault = self._unsaved or self._parts.outbox.fault
        if fault == self._disk_fault:
            return
        before, self._disk_fault = self._disk_fault, fault
        if fault is None:
            self._parts.reporter.event("disk-works", "info", "the disk takes what must be kept again")
            self._parts.installer.do(Collect(self._state.kept()))
            self._sync()
            for action in list(self._retries.values()):
                self._retry(action)
        elif before is None:
            text = f"the disk under {self._parts.home.folder} takes nothing: {fault}; what runs here serves on"
            self._parts.reporter.event("disk-failed", "error", text)

    def _act(self, action: Action) -> None:
        parts = self._parts
        match action:
            case Fetch() | Verify() | Prove():
                self._install(action)
            case Collect():
                if self._unsaved is None:
                    parts.installer.do(action)
            case Activate():
                self._activate(action)
            case Deactivate():
                parts.engine.serve(action.model, None)
            case Bind():
                self._bind(action.assignment)
            case ConfirmAfter():
                due = ConfirmDue(action.ref, action.attempt)
                self._timers.after(action.seconds, lambda: self._apply(due))
            case Settle():
                parts.engine.confirm(action.ref)
            case Report():
                parts.reporter.event(action.kind, action.level, action.text, action.ref, dict(action.detail))

    def _install(self, action: Fetch | Verify | Prove) -> None:
        if action.tries == 0:
            self._parts.installer.do(action)
            return
        self._retries[action.ref] = action
        delay_s = min(_FIRST_RETRY_S * 2 ** (action.tries - 1), _LONGEST_RETRY_S)
        self._timers.after(delay_s * random.uniform(0.5, 1.0), lambda: self._retry(action))

    def _retry(self, action: Fetch | Verify | Prove) -> None:
        held = self._state.find(action.ref)
        if self._retries.get(action.ref) == action:
            del self._retries[action.ref]
            if held is not None and held.state == _STATES[type(action)] and held.attempt == action.attempt:
                self._parts.installer.do(action)

    def _activate(self, action: Activate) -> None:
        held = self._state.find(action.ref)
        on_trial = held is None or held.state != "confirmed"
        try:
            model = self._parts.load(action.ref, action.allow_fallback)
            self._parts.engine.serve(action.ref.model, model, on_trial=on_trial)
        except GenbaError as error:
            damaged = isinstance(error, ReleaseDamagedError | ManifestError)
            unbuilt = isinstance(error, EngineMissingError)
            self._parts.inbox.put(ActivationFailed(action.ref, action.attempt, str(error), damaged, unbuilt))
        except Exception as error:  # the daemon's edge: a release that cannot be made to serve ends no daemon
            self.errors += 1
            log.exception("a release could not be made to serve, in an unforeseen way")
            self._parts.inbox.put(ActivationFailed(action.ref, action.attempt, f"unforeseen: {error!r}"))
        else:
            self._parts.inbox.put(Activated(action.ref, action.attempt))

    def _bind(self, assignment: Assignment) -> None:
        self._parts.engine.bind(assignment.streams)
        topics = {stream.topic for stream in assignment.streams}
        self._parts.link.subscribe(frozenset({self._parts.topics.all_down, *topics}))
        self._open_windows()

    def _link_up(self) -> None:
        if self._link != "connected":
            log.info("connected to %s", self._parts.settings.broker_url)
        self._link = "connected"
        self._parts.reporter.link_lost()  # whatever was on its way when the link went is sent again
        self._parts.reporter.pump()
        for action in list(self._retries.values()):
            self._retry(action)
        self._sync()
        self._parts.measurer.wake()
        self._show()
        self._parts.reporter.status(self._status())

    def _link_down(self, reason: str) -> None:
        if self._link != reason:
            log.warning("%s; serving goes on, and it is tried again", reason)
        self._link = reason
        self._parts.reporter.link_lost()
        self._show()

    def _heard(self, message: Ack | AssignmentChanged | MeasuringChanged | RenewalReply) -> None:
        if isinstance(message, Ack):
            self._parts.reporter.acknowledged(message.ids)
        elif isinstance(message, RenewalReply):
            self._parts.renew(message)
        elif isinstance(message, MeasuringChanged):
            if self._parts.settings.measure:
                self._parts.measurer.heard(message.number)
        elif self._state.assignment is None or message.revision != self._state.assignment.revision:
            self._sync(urgent=True)

    def _measured(self, done: MeasuringDone) -> None:
        """Store what a measuring job came to; then it is done, whatever happens to this device."""
        order, figures = done.order, done.figures
        text = f"measurement {order.number} of {order.model!r}: " + (
            f"{figures.latency_p50_ms:g} ms a row (p99 {figures.latency_p99_ms:g} ms) on {figures.provider}"
            if figures.measured
            else f"refused: {figures.reason}"
        )
        detail = msgspec.to_builtins(Measured(order.number, figures))
        self._parts.reporter.event(MEASURED_EVENT, "info", text, None, detail)
        with contextlib.suppress(OSError):  # the disk's fault is told of by itself
            self._parts.measurer.reported(order.number)
        self._show()

    def _poll(self) -> None:
        """Ask the registry now and then, nudged or not: a nudge may be lost, and metadata gets old."""
        self._parts.keep_time()
        if self._parts.link.connected:
            self._sync()
        self._timers.after(self._parts.settings.poll_s * random.uniform(0.9, 1.1), self._poll)

    def _sync(self, *, urgent: bool = False) -> None:
        """Have the director asked. An urgent question may go out beside one that waits for a download to end."""
        if self._syncing and not urgent:
            self._sync_again = True
            return
        self._syncing = True
        self._parts.installer.do(Sync(urgent))

    def _synced(self, outcome: SyncDone | SyncFailed) -> None:
        if outcome.stick:
            for action in list(self._retries.values()):
                self._retry(action)
            self._sticks.heard(outcome)
            return
        self._syncing = False
        if isinstance(outcome, SyncFailed):
            self._sync_failed(outcome)
            return
        self._sync_tries = 0
        if not outcome.assigned:
            log.info("nothing is assigned to this device yet")
        if self._sync_again:
            self._sync_again = False
            self._sync()

    def _sync_failed(self, outcome: SyncFailed) -> None:
        kind = "metadata-refused" if outcome.refused else "assignment-waits"
        if self._sync_tries == 0:
            level = "error" if outcome.refused else "warning"
            text = f"the registry cannot be asked for the assignment: {outcome.reason}"
            self._parts.reporter.event(kind, level, text)  # type: ignore[arg-type]
        self._sync_again = False
        self._sync_tries += 1
        delay_s = min(_FIRST_RETRY_S * 2.0 ** min(self._sync_tries - 1, 16), _LONGEST_RETRY_S)
        self._timers.after(delay_s * random.uniform(0.5, 1.0), self._sync)

    def _open_windows(self) -> None:
        """Begin a round of telemetry windows; a round that was begun before closes no more."""
        self._window_number += 1
        number = self._window_number
        seconds = self._state.assignment.window_s if self._state.assignment else 60.0
        self._timers.after(seconds, lambda: self._close_windows(number))

    def _close_windows(self, number: int) -> None:
        if number == self._window_number:
            self._open_windows()
            self._parts.reporter.windows(self._parts.engine.close_windows())
            self._parts.reporter.status(self._status())

    def _tick(self) -> None:
        self._timers.after(_TICK_S, self._tick)
        self._sticks.look()
        self._parts.renew()
        if self._page is not None:
            self._parts.service.heed(self._page, healthy=self._parts.engine.healthy)
        self._check_disk()
        self._parts.endpoint.tick()
        self._parts.reporter.pump()
        self._show()

    def _status(self, *, online: bool = True) -> Status:
        parts, assignment, building = self._parts, self._state.assignment, self._parts.building()
        return Status(
            at=self._clock(),
            online=online,
            agent_version=parts.agent_version,
            profile=parts.settings.profile,
            revision=assignment.revision if assignment else 0,
            streams=parts.engine.served(),
            releases=tuple(
                HeldRelease(held.model, held.version, held.state, held.why, building.get(held.ref))
                for held in self._state.held
            ),
            probe=parts.facts(),
            outbox_waiting=parts.outbox.size,
            outbox_dropped=parts.outbox.dropped,
            instance=parts.instance,
            measures=parts.settings.measure,
            measuring=parts.measurer.running,
        )

    def _show(self) -> None:
        """Write status.json if anything in it changed; publish the status if what runs has changed."""
        status, settings = self._status(), self._parts.settings
        page = StatusPage(
            at=status.at,
            device=settings.device,
            site=settings.site,
            profile=settings.profile,
            broker_url=settings.broker_url,
            connected=self._parts.link.connected,
            link=self._link,
            revision=status.revision,
            streams=status.streams,
            releases=status.releases,
            outbox_waiting=status.outbox_waiting,
            outbox_dropped=status.outbox_dropped,
            disk_fault=self._disk_fault or "",
            refused=self._parts.switchboard.counts,
            limits=self._parts.engine.limits,
            dropped=self._parts.engine.dropped,
            endpoint=self._parts.endpoint.says,
            measuring=status.measuring,
            errors=self._errors(),
        )
        before = self._page
        if before is None or page.at - before.at >= _PAGE_S or msgspec.structs.replace(page, at=before.at) != before:
            self._page = page
            with contextlib.suppress(OSError):
                write_status(self._parts.home, page)
        if before is None or _what_runs(before) != _what_runs(page):
            self._parts.reporter.status(status)

    def _errors(self) -> int:
        """Return how many unforeseen faults were outlived."""
        parts = self._parts
        return self.errors + parts.engine.errors + parts.installer.errors + parts.measurer.errors + parts.link.errors

    def _finish(self) -> None:
        """Serve what waits, send what there is, say goodbye."""
        parts = self._parts
        parts.service.stopping()
        parts.endpoint.close()
        parts.measurer.stop(1.0)
        parts.link.pause()
        if not parts.engine.stop(_DRAIN_S):
            log.warning("some messages were still waiting when the agent stopped")
        parts.reporter.windows(parts.engine.close_windows())
        parts.reporter.event("agent-stopped", "info", "agent stopped in good order")
        parts.reporter.status(self._status(online=False))
        parts.link.stop(_FLUSH_S)
        parts.downloads.cancel()
        parts.installer.stop(0.5)
        self._save(clean=True)
        self._show()
        parts.outbox.close()


def _what_runs(page: StatusPage) -> tuple[Any, ...]:
    served = [(row.stream, row.model, row.version, row.provider) for row in page.streams]
    held = [(row.model, row.version, row.state, row.reason, row.building is not None) for row in page.releases]
    return page.revision, served, held, page.connected, page.measuring
