"""The supervisor: web process, MQTT service, worker and, where no broker is named, a broker, as one command.

It is the only parent of these processes: none outlives it, and one that dies is started again with back-off.
"""

import logging
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from protocols.broker import LOOPBACK, BrokerAddress
from registry import processes
from registry.addresses import is_loopback, is_wildcard
from registry.catalogue.catalogue import FILE
from registry.errors import BrokerUnreachableError, HomeServedError, NotInitialisedError, OperatorError, PortInUseError
from registry.mqtt.state import read_state
from registry.signing.metadata import write_atomic

log = logging.getLogger(__name__)

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 4.0
_POLL_S = 0.1
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0
#: A process that ran so long before it died starts again without delay.
_HEALTHY_AFTER_S = 60.0


class NotReadyError(OperatorError):
    """A part of the registry did not come up; its own line is above on stderr."""


class ServeState(msgspec.Struct, frozen=True):
    """HOME/run/serve.json: where the running registry is, for tools."""

    url: str
    broker_url: str
    pids: dict[str, int]


@dataclass(slots=True)
class _Part:
    """One child process and how it has fared."""

    name: str
    arguments: list[str]
    child: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    due: float = 0.0
    failures: int = field(default=0)


def serve(
    home: Path, host: str = LOOPBACK, port: int = 8080, broker_url: str | None = None, names: Sequence[str] = ()
) -> int:
    """Serve a registry until SIGTERM or SIGINT; print its address once everything answers.

    Args:
        home: made by `genba registry init`.
        host: beyond the loopback interface it is served by TLS alone.
        port: 0 takes a free one.
        names: by what names others reach this machine; they go into the certificate.
        broker_url: mqtt:// or mqtts://; None starts an embedded broker on the loopback interface.

    Returns:
        The exit status: 0 after an orderly stop.

    Raises:
        NotInitialisedError: there is no registry in `home`.
        PortInUseError: another process listens on the port.
        HomeServedError: another process serves this home.
        BrokerUnreachableError: no broker answers at `broker_url`.
        NotReadyError: a part did not come up in time.
    """
    if not (home / FILE).is_file():
        raise NotInitialisedError(home)
    port = _free_port(host, port)
    if broker_url is not None:
        _check_listening(BrokerAddress.parse(broker_url))
    with _alone(home):
        supervisor = Supervisor(home, host, port, broker_url, names)
        supervisor.listen_to_signals()
        try:
            supervisor.run()
        finally:
            supervisor.stop_all()
    return 0


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home. A second supervisor would give the broker another port, and the devices would not find it."""
    (home / "run").mkdir(exist_ok=True)
    try:
        with FileLock(home / "run" / "serve.lock", timeout=1):
            yield
    except Timeout as error:
        raise HomeServedError(home) from error


class Supervisor:
    """Starts the parts in order, waits until each is ready, and keeps them alive."""

    def __init__(self, home: Path, host: str, port: int, broker_url: str | None, names: Sequence[str] = ()) -> None:
        self._home = home
        reachable = LOOPBACK if is_wildcard(host) else f"[{host}]" if ":" in host else host
        scheme = "http" if is_loopback(host) else "https"
        self._health = f"{scheme}://{reachable}:{port}/healthz"
        self.url = f"{scheme}://{names[0] if names and scheme == 'https' else reachable}:{port}"
        self._stop = threading.Event()
        self._parts: list[_Part] = []
        if broker_url is None:
            if scheme == "https":
                log.warning("devices elsewhere cannot reach the embedded broker; name one with --broker mqtts://HOST")
            broker_port = _broker_port(home)
            broker_url = f"mqtt://{LOOPBACK}:{broker_port}"
            self._parts.append(_Part("broker", ["-m", "registry.broker", "--port", str(broker_port)]))
        self.broker_url = broker_url
        at = ["--home", str(home)]
        web = ["--host", host, "--port", str(port), *(word for name in names for word in ("--name", name))]
        self._parts += [
            _Part("web", ["-m", "registry.web", *at, *web, "--broker", broker_url]),
            _Part("mqtt", ["-m", "registry.mqtt", *at, "--broker", broker_url]),
            _Part("jobs", ["-m", "registry.jobs", *at]),
        ]

    def listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())

    def run(self) -> None:
        """Start all, say so, and watch over them until a signal."""
        for part in self._parts:
            self._start(part)
            if part.name == "broker":
                self._wait_for("the broker", part, self._broker_answers)
        for part in self._parts:
            if part.name == "web":
                self._wait_for("the web pages", part, self._web_answers)
            elif part.name == "mqtt":
                self._wait_for("the MQTT service", part, self._mqtt_connected)
        if self._stop.is_set():
            return
        self._write_state()
        print(f"registry: {self.url}   broker: {self.broker_url}", flush=True)
        while not self._stop.wait(_POLL_S):
            for part in self._parts:
                self._watch(part)

    def stop_all(self) -> None:
        """End every part, the broker last, and leave none."""
        (self._home / "run" / "serve.json").unlink(missing_ok=True)
        self._stop.set()
        children = [part.child for part in reversed(self._parts) if part.child is not None]
        processes.stop_all(children[:-1] if self._parts[0].name == "broker" else children, STOP_WITHIN_S)
        processes.stop_all(children, 0.5)

    def _start(self, part: _Part) -> None:
        part.child = processes.start(part.arguments, stdin=subprocess.DEVNULL, start_new_session=True)
        part.began = time.monotonic()

    def _watch(self, part: _Part) -> None:
        """Start a part again that died, after a wait that doubles with each early death."""
        now = time.monotonic()
        if part.child is not None:
            status = part.child.poll()
            if status is None:
                return
            part.failures = 0 if now - part.began > _HEALTHY_AFTER_S else part.failures + 1
            delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** (part.failures - 1)) if part.failures else 0.0
            log.error("%s ended with status %s; starting it again in %.1f s", part.name, status, delay_s)
            part.child, part.due = None, now + delay_s
        if now >= part.due:
            self._start(part)
            self._write_state()

    def _wait_for(self, what: str, part: _Part, ready: Callable[[], bool]) -> None:
        assert part.child is not None  # noqa: S101 - the callers have started it
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._stop.wait(_POLL_S) and not ready():
            status = part.child.poll()
            if status is not None:
                raise NotReadyError(f"{what} ended with status {status} before it was ready; the line above says why")
            if time.monotonic() > deadline:
                raise NotReadyError(f"{what} did not come up in {READY_WITHIN_S:.0f} s; its log is above")

    def _broker_answers(self) -> bool:
        address = BrokerAddress.parse(self.broker_url)
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((address.host, address.port)) == 0

    def _web_answers(self) -> bool:
        try:
            context = None
            if self._health.startswith("https"):
                context = ssl.create_default_context(cafile=str(self._home / "ca" / "ca.pem"))
            with urllib.request.urlopen(self._health, timeout=2, context=context) as reply:  # noqa: S310 - our own
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _mqtt_connected(self) -> bool:
        state = read_state(self._home)
        pids = [part.child.pid for part in self._parts if part.name == "mqtt" and part.child is not None]
        return state is not None and state.connected and state.pid in pids

    def _write_state(self) -> None:
        pids = {part.name: part.child.pid for part in self._parts if part.child is not None}
        state = ServeState(self.url, self.broker_url, {"supervisor": os.getpid(), **pids})
        write_atomic(self._home / "run" / "serve.json", msgspec.json.encode(state))


def _check_listening(address: BrokerAddress) -> None:
    try:
        socket.create_connection((address.host, address.port), 3.0).close()
    except OSError as error:
        raise BrokerUnreachableError(address.url, error.strerror or str(error)) from error


def _broker_port(home: Path) -> int:
    """Return the embedded broker's port: the one of the last time, because enrolled agents know it, if it is free."""
    kept = home / "run" / "broker-port"
    try:
        return _free_port(LOOPBACK, int(kept.read_text()))
    except (OSError, ValueError):
        log.debug("no broker port is kept in %s", kept)
    except OperatorError:
        log.warning("port %s is taken: the broker moves, and agents must be enrolled again", kept.read_text())
    port = _free_port(LOOPBACK, 0)
    write_atomic(kept, str(port).encode())
    return port


def _free_port(host: str, port: int) -> int:
    """Return the port if it can be bound, or a free one for 0.

    Raises:
        PortInUseError: another process listens on it, or this user may not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) == 98:
                raise PortInUseError(host, port) from error
            raise OperatorError(
                f"cannot listen on {host}:{port}: {error}; choose another with --host and --port"
            ) from error
        return int(probe.getsockname()[1])
