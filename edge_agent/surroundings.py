"""What the lanes of one engine share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.cores import CoreGate
from edge_agent.receipts import Receipt, SensorMessage
from protocols.names import ReleaseRef

if TYPE_CHECKING:
    from edge_agent.telemetry import Window


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all lanes of an engine share; the callables are the engine's own (see StreamEngine)."""

    publish: Callable[[str, bytes], None]
    failing: Callable[[ReleaseRef, str], None]
    settle: Callable[[Sequence[Receipt]], None]
    keep_window: "Callable[[Window, float, int], None]"
    clock: Callable[[], float]
    ticks: Callable[[], float]
    gate: CoreGate

    def settle_all(self, messages: Iterable[SensorMessage]) -> None:
        """Settle the receipts of messages that have one."""
        receipts = [message.receipt for message in messages if message.receipt is not None]
        if receipts:
            self.settle(receipts)
