"""Reads what `genba bundle install` leaves in the home, by the same path as the network. One bundle after another."""

import contextlib
from collections.abc import Callable, Iterator

from edge_agent.installer import Job, LeaveStick, Sync, SyncDone, SyncFailed
from edge_agent.reporting import Reporter
from edge_agent.settings import AgentHome
from edge_agent.stick import stick_of
from protocols.errors import MessageRefusedError
from protocols.returns import Receipt, decode_signed


class StickReader:
    """Follows one bundle from its place in the home until it is gone. For the daemon's thread.

    Args:
        do: gives the installer a job; it does one after another.
    """

    def __init__(self, home: AgentHome, do: Callable[[Job], None], reporter: Reporter) -> None:
        self._home, self._do, self._reporter = home, do, reporter
        self._reading = self._stuck = 0

    def look(self) -> None:
        """Begin to read a bundle that has come; forget what a receipt says the registry has."""
        with contextlib.suppress(OSError):  # a disk that takes nothing is told of elsewhere
            for receipt in receipts_of(self._home):
                self._reporter.acknowledged(receipt.ids)
        if not self._reading and (found := stick_of(self._home)) not in (0, self._stuck):
            self._reading = found
            self._do(Sync(urgent=True, stick=found))

    def heard(self, outcome: SyncDone | SyncFailed) -> None:
        """Say what the bundle was worth. It goes after the jobs that it has caused."""
        if isinstance(outcome, SyncFailed):
            self._reporter.event("bundle-refused", "error", f"a bundle was not installed: {outcome.reason}")
        else:
            self._reporter.event("bundle-read", "info", "a bundle from a stick was read")
        self._do(LeaveStick(outcome.stick))

    def left(self) -> None:
        """The next one may be read; not this one again, where the disk would not let it go."""
        self._stuck = self._reading if stick_of(self._home) == self._reading else 0
        self._reading = 0


def receipts_of(home: AgentHome) -> Iterator[Receipt]:
    """Yield what receipts say; each is deleted when the next is asked for."""
    for path in sorted(home.receipts.glob("receipt-*.json")):
        with contextlib.suppress(MessageRefusedError):  # a damaged one: the next visit brings another
            yield decode_signed(Receipt, path.read_bytes())
        path.unlink(missing_ok=True)
