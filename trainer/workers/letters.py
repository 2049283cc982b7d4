"""What the caller and the nursery tell each other: one MessagePack array a packet of a Unix socket.

A worker is named by a number that is never used again: unlike a process id, it cannot come to mean another process.
"""

import msgspec


class Fork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Make a worker; the packet carries its end of a pipe."""

    worker: int


class Arm(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A worker begins a call: watch its time and its memory, and kill it beyond either."""

    worker: int
    ticket: int
    limit_s: float | None
    memory_bytes: int


class Disarm(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The call is over: no limits until the next."""

    worker: int


class Kill(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """End a worker now."""

    worker: int


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Everything is loaded; workers can be made at once from now on."""


class Gone(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A worker is no more.

    Attributes:
        ticket: of the call that it was armed for, -1: none.
        cause: why the nursery killed it; "oom" where the kernel did for want of memory; "" otherwise.
        status: exit status, negative for a signal.
        seconds: since it was armed.
        grown_bytes: memory of its own beyond what it held before its first call, when last looked at.
    """

    worker: int
    ticket: int
    cause: str
    status: int
    seconds: float
    grown_bytes: int


Order = Fork | Arm | Disarm | Kill
News = Ready | Gone

LONGEST = 4096
"""Bytes of the longest packet."""
orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
news: msgspec.msgpack.Decoder[News] = msgspec.msgpack.Decoder(News)
