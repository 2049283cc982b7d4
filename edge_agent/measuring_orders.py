"""Measuring jobs as the director has signed them, read and fetched in the installer's thread, which owns the downloads.

A job's files are targets of the device's own director metadata: rollback, freeze, replay and a job for another device
are refused by the rules that hold for assignments. None of them is a target that could be installed.
"""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TypeVar

from edge_agent.errors import TransferError
from edge_agent.installer import Errand, Installer
from edge_agent.verification import Verifier
from protocols.measuring import MeasuringOrder

T = TypeVar("T")
#: A job's files together, in bytes; a device of a few hundred megabytes has room for them.
LARGEST_JOB_BYTES = 64 * 1024 * 1024


class DirectedOrders:
    """What the director signs for this device to measure."""

    def __init__(self, installer: Installer, verifier: Verifier) -> None:
        self._installer, self._verifier = installer, verifier

    def orders(self) -> tuple[MeasuringOrder, ...]:
        return self._there(self._verifier.measuring)

    def fetch(self, order: MeasuringOrder, folder: Path) -> bool:
        return self._there(lambda: self._verifier.fetch_measured(order, folder, LARGEST_JOB_BYTES))

    def _there(self, work: Callable[[], T]) -> T:
        """Have work done in the installer's thread, and wait for it; raises what it raises."""
        future: Future[T] = Future()
        self._installer.do(Errand(work, future))
        try:
            return future.result()
        except CancelledError:
            raise TransferError("measuring", "the agent stops") from None
