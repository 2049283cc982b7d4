"""Workers on this machine: each a process of its own that can be killed at any moment, and is replaced at once."""

import contextlib
import pickle
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Self

from trainer.errors import WorkersLostError
from trainer.workers.calls import Ended, Failure
from trainer.workers.letters import Arm, Disarm, Fork, Gone, Kill
from trainer.workers.nursery import Nursery
from trainer.workers.sizes import default_memory_bytes, default_size
from trainer.workers.worker import Answer, pack

#: Workers that may die in a row before they can take a call, and nurseries in a row before a call has ended.
MAX_DEATHS = 3


@dataclass(frozen=True, slots=True)
class _Task:
    ticket: int
    packed: bytes
    limit_s: float | None


@dataclass(slots=True)
class _Hand:
    """One worker, as its caller sees it. `pipe` is None once the worker has closed its end."""

    pipe: Connection | None
    ready: bool = False
    task: _Task | None = None


class LocalWorkers:
    """Calls in processes of this machine, one BLAS and OpenMP thread in each. See `Workers` for the interface.

    Limits hold whatever the caller does meanwhile; calls that are queued move up while it waits.

    Args:
        size: how many; None: as many as there are cores to use.
        setup: gives the material; a `functools.partial` of a function that opens files with mmap shares their pages.
        memory_bytes: what a call may allocate beyond the material; None: a share of what is free now.
        nursery: one that is warm already (`warm_up`); it is closed with the workers.
    """

    def __init__(
        self,
        size: int | None = None,
        setup: Callable[[], Any] | None = None,
        memory_bytes: int | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.size = size or default_size()
        self.memory_bytes = memory_bytes or default_memory_bytes(self.size)
        packed = None if setup is None else pickle.dumps(setup, pickle.HIGHEST_PROTOCOL)
        self._setup = pickle.dumps((packed, self.memory_bytes))
        self._nursery = nursery or Nursery()
        self._hands: dict[int, _Hand] = {}
        self._queue: deque[_Task] = deque()
        self._ended: list[Ended] = []
        self._workers = self._tickets = self._deaths = 0
        self._closed = False
        for _ in range(self.size):
            self._fork()

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        return self.start_packed(pack(call, args), limit_s)

    def start_packed(self, packed: bytes, limit_s: float | None) -> int:
        """Start a call that `pack` has pickled."""
        self._check_open()
        task = _Task(self._tickets, packed, limit_s)
        self._tickets += 1
        self._queue.append(task)
        self._listen(0.0)
        self._deal()
        return task.ticket

    def wait(self, timeout_s: float) -> list[Ended]:
        self._check_open()
        over_at = time.monotonic() + timeout_s
        while True:
            self._deal()
            if self._ended:
                ended, self._ended = self._ended, []
                return ended
            if not self._listen(max(0.0, over_at - time.monotonic())):
                return []

    def stop(self, ticket: int) -> None:
        self._queue = deque(task for task in self._queue if task.ticket != ticket)
        self._ended = [ended for ended in self._ended if ended.ticket != ticket]
        for number, hand in list(self._hands.items()):
            if hand.task is not None and hand.task.ticket == ticket:
                self._replace(number)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._nursery.close()
        for hand in self._hands.values():
            _shut(hand)
        self._hands.clear()
        self._queue.clear()
        self._ended.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise WorkersLostError("the workers are closed")

    def _listen(self, timeout_s: float) -> bool:
        """Take what workers and nursery have to say; False where nobody says anything in time."""
        pipes = {hand.pipe: number for number, hand in self._hands.items() if hand.pipe is not None}
        ready = wait([*pipes, self._nursery], timeout_s)  # type: ignore[list-item]
        for pipe, number in pipes.items():
            if pipe in ready:
                self._read(number)
        if self._nursery in ready:  # type: ignore[comparison-overlap]
            self._hear()
        return bool(ready)

    def _fork(self) -> None:
        mine, theirs = Pipe()
        self._nursery.tell(Fork(self._workers), theirs.fileno())
        theirs.close()
        with contextlib.suppress(OSError):  # a nursery that is no more is noticed where its news are read
            mine.send_bytes(self._setup)
        self._hands[self._workers] = _Hand(mine)
        self._workers += 1

    def _replace(self, number: int) -> None:
        self._nursery.tell(Kill(number))
        _shut(self._hands.pop(number))
        self._fork()

    def _deal(self) -> None:
        """Give what is queued to those who are idle."""
        for number, hand in self._hands.items():
            if not self._queue:
                return
            if not hand.ready or hand.task is not None or hand.pipe is None:
                continue
            task = self._queue.popleft()
            self._nursery.tell(Arm(number, task.ticket, task.limit_s, self.memory_bytes))
            hand.task = task
            with contextlib.suppress(OSError):  # it has died: the nursery says so next, and the task is given again
                hand.pipe.send_bytes(task.packed)

    def _read(self, number: int) -> None:
        """Take what a worker says: that it is ready, or how its call ended."""
        hand = self._hands.get(number)
        said = None if hand is None else _receive(hand)
        if hand is None or said is None:
            return
        if not hand.ready:
            failure: Failure | None = pickle.loads(said)  # noqa: S301  # from a process that this one started
            if failure is not None:
                raise WorkersLostError(f"a worker cannot be set up: {failure.text}")
            hand.ready, self._deaths = True, 0
            return
        self._finish(hand, said)
        self._nursery.tell(Disarm(number))
        if self._ended[-1].failure is not None and self._ended[-1].failure.kind == "memory":
            self._replace(number)  # what it holds of the memory that it was short of is not known

    def _finish(self, hand: _Hand, said: bytes) -> None:
        assert hand.task is not None  # noqa: S101  # a worker answers what it was asked
        ticket, hand.task, self._deaths = hand.task.ticket, None, 0
        try:
            value, failure, seconds, peak_bytes = _answer(said)
        except Exception as error:  # what a class does where it is unpickled is its own affair
            text = f"its result cannot be read back: {type(error).__name__}: {error}"
            value, failure, seconds, peak_bytes = None, Failure("error", text, type(error).__name__), 0.0, 0
        self._ended.append(Ended(ticket, value, failure, seconds, peak_bytes))

    def _hear(self) -> None:
        """Take one piece of news from the nursery."""
        told = self._nursery.read()
        if told is None:
            self._start_anew()
        elif isinstance(told, Gone) and told.worker in self._hands:
            self._bury(told.worker, told)
            self._count_death()
            self._fork()

    def _start_anew(self) -> None:
        """The nursery was killed, and its workers with it: what had a result keeps it, the rest is told."""
        self._nursery.close()
        self._count_death()
        for number, hand in list(self._hands.items()):
            lost = -1 if hand.task is None else hand.task.ticket
            self._bury(number, Gone(number, lost, "", -signal.SIGKILL, 0.0, 0))
        self._nursery = Nursery(self._nursery.modules)
        for _ in range(self.size):
            self._fork()

    def _count_death(self) -> None:
        self._deaths += 1
        if self._deaths > MAX_DEATHS * self.size and not self._ended:
            raise WorkersLostError(f"{self._deaths} worker processes died one after the other before any call ended")

    def _bury(self, number: int, gone: Gone) -> None:
        hand = self._hands.pop(number)
        said = _receive(hand) if hand.pipe is not None and hand.ready and hand.pipe.poll(0) else None
        if hand.task is not None and said is not None:
            self._finish(hand, said)
        elif hand.task is not None and gone.ticket != hand.task.ticket:
            self._queue.appendleft(hand.task)  # it died of the call before, or of none
        elif hand.task is not None:
            failure = self._failure(gone, hand.task)
            self._ended.append(Ended(gone.ticket, None, failure, gone.seconds, gone.grown_bytes))
        _shut(hand)

    def _failure(self, gone: Gone, task: _Task) -> Failure:
        if gone.cause == "time":
            return Failure("time", f"it ran over its limit of {task.limit_s:g} s")
        if gone.cause == "memory":
            return Failure("memory", f"it held more than the {self.memory_bytes / 1e6:.0f} MB that a worker may have")
        if gone.cause == "oom":
            return Failure("memory", "the system ran out of memory and killed it")
        if gone.status < 0:
            return Failure("died", f"its process was killed by {signal.Signals(-gone.status).name}")
        return Failure("died", f"its process ended by itself, with exit status {gone.status}")


def _answer(said: bytes) -> Answer:
    answered: Answer = pickle.loads(said)  # noqa: S301  # from a process that this one started
    return answered


def _receive(hand: _Hand) -> bytes | None:
    """Return what a worker wrote; None, and no pipe from then on, where it has closed its end."""
    if hand.pipe is None:
        return None
    try:
        return hand.pipe.recv_bytes()
    except (EOFError, OSError):
        _shut(hand)
        return None


def _shut(hand: _Hand) -> None:
    if hand.pipe is not None:
        hand.pipe.close()
        hand.pipe = None
