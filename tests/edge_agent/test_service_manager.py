"""What the service manager is told: when the agent serves, that it lives, and when it ends."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators.notify_socket import Manager
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import write_release

from edge_agent import daemon as daemon_module
from edge_agent import lane
from edge_agent.assembly import build_daemon
from edge_agent.service_manager import ServiceManager, serves_what_it_should
from edge_agent.settings import AgentHome
from edge_agent.status import StatusPage
from protocols.assignment import StreamBinding
from protocols.messages import HeldRelease, ServedStream
from protocols.names import ReleaseRef

ROOT = Path(__file__).resolve().parents[2]
ONE = ReleaseRef("ccpp", 1)
STREAM = StreamBinding("line", "ccpp", "plant/sensors", "plant/predictions", key="$.id")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@genba-test-{os.getpid()}-{id(request)}"
    manager = Manager(address)
    yield manager
    manager.close()


def page(*, version: int = 1, state: str = "confirmed", connected: bool = True) -> StatusPage:
    return StatusPage(
        at=1.0,
        device="press-1",
        site="osaka",
        profile="x86",
        broker_url="mqtt://127.0.0.1",
        connected=connected,
        link="no broker answers",
        revision=1,
        streams=(ServedStream("line", "ccpp", version, "CPUExecutionProvider", 0, 0),),
        releases=(HeldRelease("ccpp", 1, state),),  # type: ignore[arg-type]
        outbox_waiting=0,
        outbox_dropped=0,
        dropped=0,
        errors=0,
    )


def test_ready_is_told_once_and_the_watchdog_again_and_again(manager: Manager) -> None:
    now = [100.0]
    service = ServiceManager(manager.address, 8.0, ticks=lambda: now[0])
    service.heed(page(), healthy=True)
    assert manager.drain() == ["READY=1", "STATUS=connected; serves ccpp@1", "WATCHDOG=1"]
    service.heed(page(), healthy=True)
    assert manager.drain() == []
    now[0] += 2
    service.heed(page(), healthy=True)
    assert manager.drain() == ["WATCHDOG=1"]


def test_streams_that_hang_feed_no_watchdog(manager: Manager) -> None:
    service = ServiceManager(manager.address, 8.0)
    service.heed(page(), healthy=False)
    assert manager.drain() == ["READY=1", "STATUS=the streams are not being served: a batch hangs"]


def test_a_release_that_is_installed_and_not_served_is_not_ready_and_one_that_is_on_its_way_is_no_matter() -> None:
    assert not serves_what_it_should(page(version=0))
    assert serves_what_it_should(page(version=0, state="fetched"))
    assert serves_what_it_should(page(connected=False))


def test_another_process_watchdog_is_not_ours() -> None:
    said = {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}
    assert ServiceManager.of_environment(said)._every_s is None
    assert ServiceManager.of_environment({**said, "WATCHDOG_PID": str(os.getpid())})._every_s == 1.0


def test_a_manager_that_went_away_is_no_fault_and_hears_all_of_it_when_it_is_back(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    service = ServiceManager(address, 8.0)
    service.heed(page(), healthy=True)
    back = Manager(address)
    service.heed(page(), healthy=True)
    assert back.drain() == ["READY=1", "STATUS=connected; serves ccpp@1", "WATCHDOG=1"]
    back.close()


def test_with_no_manager_nothing_happens() -> None:
    service = ServiceManager.of_environment({})
    service.heed(page(), healthy=True)
    service.stopping()


def test_an_agents_process_tells_ready_watchdog_and_stopping(home: AgentHome, manager: Manager) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "genba", "agent", "run", "--home", str(home.folder)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NOTIFY_SOCKET": manager.address,
            "WATCHDOG_USEC": "4000000",
        },
    )
    try:
        first = manager.heard()
        assert "READY=1" in first
        assert "WATCHDOG=1" in first
        manager.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


class Gate:
    """Lets calls through until it is shut; then they hang."""

    def __init__(self) -> None:
        self._open, self.hangs = threading.Event(), threading.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def passing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def passed(*arguments: Any) -> Any:
            if not self._open.is_set():
                self.hangs.set()
                self._open.wait()
            return call(*arguments)

        return passed


class Watched:
    """A whole daemon in this process, whose model and whose loop can be made to hang, and its service manager."""

    def __init__(self, home: AgentHome) -> None:
        self.manager = Manager(f"@genba-hang-{os.getpid()}-{id(home)}")
        self.daemon = build_daemon(home, ServiceManager(self.manager.address, 0.4))
        self.model, self.loop = Gate(), Gate()
        parts = self.daemon._parts
        self._load = parts.load
        changed = {"load": self._loaded, "facts": self.loop.passing(parts.facts)}
        self.daemon._parts = dataclasses.replace(parts, **changed)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.daemon.run)
        self._thread.start()

    def _loaded(self, *arguments: Any) -> Any:
        model = self._load(*arguments)
        model.predict = self.model.passing(model.predict)  # type: ignore[method-assign]
        return model

    def sense(self) -> None:
        self.daemon._parts.switchboard.message(STREAM.topic, b'{"id": 1, "AT": 3, "V": 1}')

    def close(self) -> None:
        self.model.open()
        self.loop.open()
        self.daemon.stop()
        self._thread.join(20)
        self.manager.close()
        assert not self._thread.is_alive()


@pytest.fixture
def watched(
    home: AgentHome,
    signed: SignedReleases,
    registry_side: RegistrySide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Watched]:
    """A daemon that serves a release and feeds its watchdog."""
    monkeypatch.setattr(lane, "HANGS_S", 0.5)
    monkeypatch.setattr(daemon_module, "_TICK_S", 0.05)
    watched = Watched(home)
    write_release(tmp_path / "one", name="ccpp", version=1)
    signed.publish(ONE, tmp_path / "one")
    revision = signed.assign("press-1", ONE, streams=(STREAM,), window_s=60.0, confirm_s=0.1)
    registry_side.nudge("osaka", "press-1", revision)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    watched.manager.wait_for("WATCHDOG=1")
    yield watched
    watched.close()


def test_a_loop_that_hangs_feeds_no_watchdog_until_it_goes_on(watched: Watched) -> None:
    watched.loop.shut()
    assert watched.loop.hangs.wait(10)
    watched.manager.drain()
    watched.manager.socket.settimeout(0.5)  # ten ticks, five meals
    with pytest.raises(TimeoutError):
        watched.manager.heard()
    watched.loop.open()
    watched.manager.socket.settimeout(20)
    watched.manager.wait_for("WATCHDOG=1")


def test_a_model_that_hangs_feeds_no_watchdog_though_the_loop_turns(watched: Watched) -> None:
    watched.model.shut()
    watched.sense()
    assert watched.model.hangs.wait(10)
    while "STATUS=the streams are not being served: a batch hangs" not in (lines := watched.manager.heard()):
        pass
    assert "WATCHDOG=1" not in lines + watched.manager.drain()
    watched.model.open()
    watched.manager.wait_for("WATCHDOG=1")
