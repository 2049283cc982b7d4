"""One simulated device: the agent's own daemon in a thread, which can be switched off and on again."""

import threading
from collections.abc import Callable

from edge_agent.assembly import build_parts
from edge_agent.bench import Bench
from edge_agent.daemon import Daemon, Parts
from edge_agent.link import Traffic
from edge_agent.releases import ReleaseStore
from edge_agent.settings import AgentHome, HomeLock, Settings
from edge_agent.status import StatusPage
from rehearsal.readings import Readings

MakeBench = Callable[[AgentHome, Settings, ReleaseStore], Bench]


class SimulatedDevice:
    """An enrolled home, and the daemon that runs on it while the power is on. `on` and `off` are for one thread."""

    def __init__(self, home: AgentHome, make_bench: MakeBench, readings: Readings) -> None:
        self.home = home
        self.page: StatusPage | None = None
        self._make_bench, self._readings = make_bench, readings
        self._past = Traffic()
        self._lock: HomeLock | None = None
        self._parts: Parts | None = None
        self._daemon: Daemon | None = None
        self._thread: threading.Thread | None = None

    def on(self) -> None:
        """Switch on: state, releases and outbox are as they were left.

        Raises:
            HomeError: an agent runs on this home already.
        """
        self._lock = HomeLock(self.home)
        parts = build_parts(self.home, make_bench=self._make_bench)
        daemon = Daemon(parts)
        self._thread = threading.Thread(target=daemon.run, name=parts.settings.device, daemon=True)
        self._parts, self._daemon = parts, daemon
        self._thread.start()

    def off(self, timeout_s: float = 15.0) -> None:
        """Switch off in good order."""
        parts, daemon, thread = self._parts, self._daemon, self._thread
        if parts is None or daemon is None or thread is None:
            return
        self.page = self.look()
        daemon.stop()
        thread.join(timeout_s)
        self._past = self.traffic
        self._parts = self._daemon = self._thread = None
        if self._lock is not None:
            self._lock.release()

    def sense(self) -> None:
        """Give each stream one sensor message, as its topic would."""
        parts = self._parts
        if parts is None:
            return
        for binding, manifest in parts.engine.serving():
            parts.engine.offer(binding.topic, self._readings.payload(binding, manifest))

    def look(self) -> StatusPage | None:
        """Return the newest status page; of a device that is off, the last one."""
        daemon = self._daemon
        return (daemon.page if daemon is not None else None) or self.page

    @property
    def online(self) -> bool:
        parts = self._parts
        return parts is not None and parts.link.connected

    @property
    def traffic(self) -> Traffic:
        """What went over its links since it was made."""
        past, parts = self._past, self._parts
        now = parts.link.traffic if parts is not None else Traffic()
        return Traffic(
            past.sent + now.sent,
            past.sent_bytes + now.sent_bytes,
            past.heard + now.heard,
            past.heard_bytes + now.heard_bytes,
        )
