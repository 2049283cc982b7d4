"""What a sensor message is acknowledged by, once it has been dealt with."""

from typing import NamedTuple


class Receipt:
    """One message of one connection that the broker keeps until it is acknowledged.

    `again`: the broker had sent it before. `shares`: streams that have yet to deal with it.
    """

    __slots__ = ("again", "connection", "number", "shares")

    def __init__(self, connection: int, number: int, *, again: bool = False) -> None:
        self.connection, self.number, self.again = connection, number, again
        self.shares = 1


class SensorMessage(NamedTuple):
    """A message as it waits; of one that was too large, its size alone. `arrived`: seconds of a steady clock."""

    payload: bytes | int
    arrived: float
    receipt: Receipt | None = None
