"""The nursery itself: forks workers, watches their time and memory, and kills them.

It knows nothing of calls. It lives in a process of its own so that limits hold whatever its caller is doing, and so
that workers end even where the caller is killed: then its socket closes. Where the nursery is killed, the kernel kills
the workers.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trainer.workers.letters import LONGEST, Arm, Disarm, Fork, Gone, Kill, News, Ready, orders
from trainer.workers.memory import own_bytes
from trainer.workers.worker import work

#: Seconds between two looks at the workers' memory.
LOOK_S = 0.1


@dataclass(slots=True)
class _Child:
    pid: int
    ticket: int = -1
    armed_at: float = 0.0
    ends_at: float | None = None
    memory_bytes: int = 0
    resting_bytes: int = -1
    grown_bytes: int = 0
    kills_before: int = 0
    cause: str = ""


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Load the modules, then serve until the caller closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in modules:
        with contextlib.suppress(ImportError, OSError):  # OSError: a library of the system that it needs is not there
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a worker would write to, and so copy, every page that they share
    with socket.socket(fileno=descriptor) as channel:
        _Nursery(channel).serve()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)


class _Nursery:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._children: dict[int, _Child] = {}
        self._inside, self._outside = socket.socketpair()  # a signal's byte ends a wait
        for end in (self._inside, self._outside):
            end.setblocking(False)

    def serve(self) -> None:
        signal.set_wakeup_fd(self._outside.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._tell(Ready())
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._inside, selectors.EVENT_READ)
            open_ = True
            while open_:
                ready = [key.fileobj for key, _ in selector.select(self._pause_s())]
                if self._inside in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._inside.recv(LONGEST)
                if self._channel in ready:
                    open_ = self._obey()
                self._watch()
                self._reap()
        for child in self._children.values():
            _kill(child.pid)
        for child in self._children.values():
            os.waitpid(child.pid, 0)

    def _pause_s(self) -> float | None:
        armed = [child for child in self._children.values() if child.ticket >= 0 and not child.cause]
        if not armed:
            return None
        now = time.monotonic()
        return max(0.0, min([LOOK_S, *(child.ends_at - now for child in armed if child.ends_at is not None)]))

    def _obey(self) -> bool:
        try:
            packet, descriptors, *_ = socket.recv_fds(self._channel, LONGEST, 1)
        except ConnectionError:  # the caller ended with news that it had not read
            return False
        if not packet:
            return False
        order = orders.decode(packet)
        child = self._children.get(order.worker)
        if isinstance(order, Fork):
            self._fork(order.worker, descriptors[0])
        elif child is None:
            pass
        elif isinstance(order, Arm):
            self._arm(child, order)
        elif isinstance(order, Disarm):
            child.ticket = -1
        elif isinstance(order, Kill):
            _kill(child.pid)
        return True

    def _fork(self, worker: int, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                _become_worker(self._channel, self._inside, self._outside)
                work(descriptor)
            finally:
                os._exit(70)
        os.close(descriptor)
        self._children[worker] = _Child(pid)

    def _arm(self, child: _Child, order: Arm) -> None:
        child.ticket = order.ticket
        child.armed_at = time.monotonic()
        child.ends_at = None if order.limit_s is None else child.armed_at + order.limit_s
        child.memory_bytes = order.memory_bytes
        child.kills_before = _kernel_kills()
        child.grown_bytes = 0
        if child.resting_bytes < 0:
            child.resting_bytes = own_bytes(child.pid)

    def _watch(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.ticket < 0 or child.cause:
                continue
            child.grown_bytes = max(child.grown_bytes, own_bytes(child.pid) - child.resting_bytes)
            if child.ends_at is not None and now >= child.ends_at:
                child.cause = "time"
            elif child.grown_bytes > child.memory_bytes:
                child.cause = "memory"
            if child.cause:
                _kill(child.pid)

    def _reap(self) -> None:
        for worker, child in list(self._children.items()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            del self._children[worker]
            code = os.waitstatus_to_exitcode(status)
            if not child.cause and code == -signal.SIGKILL and _kernel_kills() > child.kills_before:
                child.cause = "oom"
            seconds = time.monotonic() - child.armed_at if child.ticket >= 0 else 0.0
            self._tell(Gone(worker, child.ticket, child.cause, code, seconds, child.grown_bytes))

    def _tell(self, told: News) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(msgspec.msgpack.encode(told))


def _become_worker(*ends: socket.socket) -> None:
    """Undo in the child what makes the nursery: its signals and sockets; and end when it ends."""
    parent = os.getppid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # what it starts is killed with it
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)
    for end in ends:
        end.close()
    with contextlib.suppress(OSError):  # where memory runs out, a worker is what can be spared
        Path("/proc/self/oom_score_adj").write_text("800")


def _kill(pid: int) -> None:
    """Kill a child that is not reaped yet, with all that it started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not come to make a group of its own
        os.kill(pid, signal.SIGKILL)


def _kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory, 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
