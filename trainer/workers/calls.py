"""Calls that run elsewhere: the interface, and how a call ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

#: `error`: the call raised; `time`: over its limit; `memory`: over what a worker may have, or the machine has;
#: `died`: its process ended under it.
Kind = Literal["error", "time", "memory", "died"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call has no value.

    Attributes:
        text: one line for a person.
        exception: the exception's type, where there was one.
        trace: its traceback, for a log.
    """

    kind: Kind
    text: str
    exception: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that is over: a value, or a failure.

    Attributes:
        seconds: how long it ran, by the wall clock.
        peak_bytes: the most memory that it held of its own, the material not counted; 0 where that is not known.
    """

    ticket: int
    value: Any = None
    failure: Failure | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


class Workers(Protocol):
    """Where calls run. Not thread-safe: one caller.

    A call is a function that a worker can import, with arguments that can be pickled. Where the workers were given a
    `setup`, its result (the *material*) is the call's first argument: it reaches each worker once.
    """

    @property
    def size(self) -> int:
        """How many calls can run at once; a cluster's changes as workers come and go."""
        ...

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        """Run a call, or queue it while all workers are busy; return its ticket.

        Args:
            limit_s: seconds after which it is killed, counted from when it runs, not from now.

        Raises:
            TypeError, AttributeError, pickle.PicklingError: the call or its arguments cannot be pickled.
            WorkersLostError: as `wait` does.
        """
        ...

    def wait(self, timeout_s: float) -> list[Ended]:
        """Return the calls that ended since the last wait, as soon as there is one; [] when the time is over.

        Raises:
            WorkersLostError: no worker is left, and none can be had.
        """
        ...

    def stop(self, ticket: int) -> None:
        """Take a call back, and kill it if it runs: it never ends then. Nothing happens where it has ended."""
        ...

    def close(self) -> None:
        """End all workers, whatever they do; no process and no file is left."""
        ...
