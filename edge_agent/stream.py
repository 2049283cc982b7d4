"""One stream: its binding, the queue of sensor messages that wait, and what is counted of them."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_agent.faults import Faults
from edge_agent.receipts import Receipt, SensorMessage
from edge_agent.rejections import PAYLOAD_LIMIT_BYTES
from edge_agent.tally import Durations
from protocols.assignment import StreamBinding
from protocols.manifest import Manifest

if TYPE_CHECKING:
    from edge_agent.feeding import StateCarrier
    from edge_agent.readers import Reader
    from edge_agent.telemetry import Window

#: Most that one stream's waiting messages may weigh, whatever their number.
QUEUE_LIMIT_BYTES = 32 * 1024 * 1024


class Stream:
    """One binding, its queue and its counts. The link's thread appends, the lane's takes."""

    def __init__(self, binding: StreamBinding) -> None:
        self.binding = binding
        #: A message that was too large waits as its size alone.
        self.waiting: deque[SensorMessage] = deque()
        #: Messages that found no room (`dropped`), and predictions that were later than the latency budget (`late`).
        self.dropped = self.late = 0
        #: Messages that only filled a window.
        self.warming = 0
        self.predictions = self.rejected = 0
        self.faults = Faults()
        #: From a message's arrival to its answer.
        self.durations = Durations()
        self.reader: Reader | None = None
        self.carrier: StateCarrier | None = None
        self.payload_limit_bytes = PAYLOAD_LIMIT_BYTES
        self.window: Window | None = None
        self._dropped_before = 0
        # Bytes that came and bytes that went, each written by one thread alone.
        self._bytes_in = self._bytes_gone = self._bytes_taken = 0

    @property
    def keeps_receipts(self) -> bool:
        """Whether a message stays the broker's until it was answered."""
        return self.reader is not None and self.binding.delivery == "at-least-once"

    def serve(self, manifest: Manifest | None) -> None:
        """Read for a release from now on, with nothing kept of what went before; None: nothing serves."""
        if manifest is None:
            self.reader = self.carrier = None
            return
        from edge_agent.readers import make_carrier, make_reader  # by now there is a model, and it has loaded NumPy

        self.reader, self.carrier = make_reader(manifest, self.binding), make_carrier(manifest)
        self.payload_limit_bytes = self.reader.payload_limit_bytes

    def offer(self, payload: bytes, now: float, receipt: Receipt | None) -> list[SensorMessage]:
        """Queue one message; return those that find no room, by count or by bytes: the oldest or this one."""
        size = len(payload)
        message = SensorMessage(payload if size <= self.payload_limit_bytes else size, now, receipt)
        if self.binding.overflow != "drop-oldest" and self._full(weight(message.payload)):
            self.dropped += 1
            return [message]
        self._bytes_in += weight(message.payload)
        gone = []
        while self._full(0):
            try:
                oldest = self.waiting.popleft()
            except IndexError:
                break  # the lane's thread has just emptied it
            self._bytes_gone += weight(oldest.payload)
            self.dropped += 1
            gone.append(oldest)
        self.waiting.append(message)
        return gone

    def _full(self, more_bytes: int) -> bool:
        bytes_waiting = self._bytes_in - self._bytes_gone - self._bytes_taken
        return len(self.waiting) >= self.binding.queue_limit or bytes_waiting + more_bytes > QUEUE_LIMIT_BYTES

    def take(self, most: int) -> list[SensorMessage]:
        """Return what waits, at most so many."""
        taken: list[SensorMessage] = []
        try:
            while len(taken) < most:
                taken.append(self.waiting.popleft())
        except IndexError:
            pass
        self._bytes_taken += sum(weight(message.payload) for message in taken)
        return taken

    def part_with_receipts(self) -> list[SensorMessage]:
        """Return what waits; it waits on without its receipts, which the caller settles now."""
        waiting = self.take(len(self.waiting))
        self.put_back([message._replace(receipt=None) for message in waiting])
        return waiting

    def put_back(self, messages: Sequence[SensorMessage]) -> None:
        """Return messages that were taken to the front of the queue."""
        self._bytes_taken -= sum(weight(message.payload) for message in messages)
        self.waiting.extendleft(reversed(messages))

    def newly_dropped(self) -> int:
        """Return how many were dropped since the last call."""
        dropped, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        return dropped


def weight(payload: bytes | int) -> int:
    return len(payload) if isinstance(payload, bytes) else 0
