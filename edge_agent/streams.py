"""The streams of a device: bounded queues of sensor messages, served in batches by the model that is active.

What waits is served as one batch, and a message alone at once. A swap happens between two batches: nothing is lost,
and each prediction names the release that made it.
"""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from edge_agent.errors import ModelRunError
from edge_agent.faults import Faults
from edge_agent.inference import Array, Model, Predictions
from edge_agent.receipts import Receipt, SensorMessage
from edge_agent.rows import PAYLOAD_LIMIT_BYTES, Rejection, RowReader, Rows
from edge_agent.telemetry import Window
from edge_agent.trial import Trial
from protocols.assignment import StreamBinding
from protocols.manifest import Manifest
from protocols.messages import ServedStream, Telemetry
from protocols.names import ReleaseRef
from protocols.payloads import Prediction, message_id

log = logging.getLogger(__name__)

#: Most that one stream's waiting messages may weigh, whatever their number.
QUEUE_LIMIT_BYTES = 32 * 1024 * 1024

#: A batch that takes longer hangs.
HANGS_S = 30.0

Publish = Callable[[str, bytes], None]
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Server:
    """The release that serves a model now. On `trial` until it is confirmed; `halted` when it was given up."""

    model: Model
    trial: Trial | None = None
    halted: bool = False

    @property
    def ref(self) -> ReleaseRef:
        return self.model.manifest.release


class Stream:
    """One binding, its queue and its counts. The link's thread appends, the serving thread takes."""

    def __init__(self, binding: StreamBinding) -> None:
        self.binding = binding
        #: A message that was too large waits as its size alone.
        self.waiting: deque[SensorMessage] = deque()
        self.dropped = 0
        self.predictions = 0
        self.rejected = 0
        self.faults = Faults()
        self.reader: RowReader | None = None
        self.window: Window | None = None
        self._dropped_before = 0
        # Bytes that came and bytes that went, each written by one thread alone.
        self._bytes_in = self._bytes_gone = self._bytes_taken = 0

    def offer(self, payload: bytes, now: float, receipt: Receipt | None) -> list[SensorMessage]:
        """Queue one message; return the oldest, which give way when the queue is full, by count or by bytes."""
        size = len(payload)
        item = payload if size <= PAYLOAD_LIMIT_BYTES else size
        self._bytes_in += _weight(item)
        gone = []
        while len(self.waiting) >= self.binding.queue_limit or self._bytes_waiting > QUEUE_LIMIT_BYTES:
            try:
                oldest = self.waiting.popleft()
            except IndexError:
                break  # the serving thread has just emptied it
            self._bytes_gone += _weight(oldest.payload)
            self.dropped += 1
            gone.append(oldest)
        self.waiting.append(SensorMessage(item, now, receipt))
        return gone

    @property
    def _bytes_waiting(self) -> int:
        return self._bytes_in - self._bytes_gone - self._bytes_taken

    def take(self) -> list[SensorMessage]:
        """Return what waits, at most a batch."""
        taken: list[SensorMessage] = []
        try:
            while len(taken) < self.binding.max_batch:
                taken.append(self.waiting.popleft())
        except IndexError:
            pass
        self._bytes_taken += sum(_weight(message.payload) for message in taken)
        return taken

    def put_back(self, messages: Sequence[SensorMessage]) -> None:
        """Return messages that were taken to the front of the queue."""
        self._bytes_taken -= sum(_weight(message.payload) for message in messages)
        self.waiting.extendleft(reversed(messages))

    @property
    def keeps_receipts(self) -> bool:
        """Whether a message stays the broker's until it was answered."""
        return self.reader is not None and self.binding.delivery == "at-least-once"

    def newly_dropped(self) -> int:
        """Return how many were dropped since the last call."""
        dropped, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        return dropped


class StreamEngine:
    """Serves every stream of a device in one thread.

    Args:
        publish: takes (topic, payload); must not block.
        failing: told once, from the serving thread, when a release on trial fails too often or takes too long. Its
            streams then wait until `serve` is called for the model again.
        settle: takes the receipts of messages that need not be sent again: answered, refused or dropped.
        clock: seconds since the epoch, for windows. ticks: seconds of a steady clock, for latencies.
    """

    def __init__(
        self,
        publish: Publish,
        failing: Callable[[ReleaseRef, str], None],
        *,
        settle: Callable[[Sequence[Receipt]], None] = lambda receipts: None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._publish, self._failing, self._settle = publish, failing, settle
        self._clock, self._ticks = clock, ticks
        self._streams: dict[str, Stream] = {}
        self._by_topic: dict[str, tuple[Stream, ...]] = {}
        self._servers: dict[str, Server] = {}
        self._closed: list[tuple[Window, float, int]] = []
        self._wake = threading.Event()
        self._serving = threading.Lock()
        self._stopping = False
        self._batch_began: float | None = None
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self.errors = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Serve what waits, then stop. Returns whether all was served in time."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def offer(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> bool:
        """Take one sensor message; called by the link's thread, never blocks.

        A message that no release can serve now, or whose stream wants no more than that, is settled at once: unsettled
        messages fill the broker's window, and nothing else would come through it, the release that could serve them
        least of all.

        Returns:
            Whether there is a stream for it.
        """
        now = self._ticks()
        streams = self._by_topic.get(topic, ())
        keepers = [stream for stream in streams if stream.keeps_receipts] if receipt is not None else []
        if receipt is not None:
            if keepers:
                receipt.shares = len(keepers)
            elif streams:
                self._settle([receipt])
        for stream in streams:
            gone = stream.offer(payload, now, receipt if stream in keepers else None)
            if gone:
                self._settle_all(gone)
        self._wake.set()
        return bool(streams)

    def _settle_all(self, messages: Iterable[SensorMessage]) -> None:
        receipts = [message.receipt for message in messages if message.receipt is not None]
        if receipts:
            self._settle(receipts)

    def bind(self, bindings: Sequence[StreamBinding]) -> None:
        """Make these the streams; one that is there already in the same form keeps its queue and counts."""
        with self._serving:
            kept = {}
            for binding in bindings:
                stream = self._streams.get(binding.name)
                kept[binding.name] = stream if stream and stream.binding == binding else self._new_stream(binding)
            for name, stream in self._streams.items():
                if kept.get(name) is not stream:
                    self._close_window(stream)
                    self._settle_all(list(stream.waiting))
            self._streams = kept
            topics = {stream.binding.topic for stream in kept.values()}
            self._by_topic = {
                topic: tuple(stream for stream in kept.values() if stream.binding.topic == topic) for topic in topics
            }
        self._wake.set()

    def _new_stream(self, binding: StreamBinding) -> Stream:
        stream = Stream(binding)
        server = self._servers.get(binding.model)
        if server is not None:
            stream.reader = RowReader(server.model.manifest.inputs, binding)
        return stream

    def serve(self, name: str, model: Model | None, *, on_trial: bool = False) -> None:
        """Let a release take over its model's streams between two batches; None: nothing serves them."""
        with self._serving:
            for stream in self._streams.values():
                if stream.binding.model == name:
                    self._close_window(stream)
                    stream.reader = RowReader(model.manifest.inputs, stream.binding) if model else None
                    if model is None:
                        self._settle_all(list(stream.waiting))
            if model is None:
                self._servers.pop(name, None)
            else:
                self._servers[name] = Server(model, Trial(model.manifest.latency_limit_ms) if on_trial else None)
        self._wake.set()

    def confirm(self, ref: ReleaseRef) -> None:
        """End a release's trial: from now on it keeps serving, whatever single messages do to it."""
        server = self._servers.get(ref.model)
        if server is not None and server.ref == ref:
            server.trial, server.halted = None, False
            self._wake.set()

    def close_windows(self) -> list[Callable[[int], Telemetry]]:
        """End every stream's window; return one function per window that holds anything, from its id to its message."""
        with self._serving:
            for stream in self._streams.values():
                self._close_window(stream)
            closed, self._closed = self._closed, []
        return [_summary_of(*window) for window in closed]

    def _close_window(self, stream: Stream) -> None:
        window, stream.window = stream.window, None
        if window is None:
            return
        dropped = stream.newly_dropped()
        if dropped or not window.empty:
            self._closed.append((window, self._clock(), dropped))

    def served(self) -> tuple[ServedStream, ...]:
        """Return what serves each stream now, for the status."""
        rows = []
        for stream in list(self._streams.values()):
            server = self._servers.get(stream.binding.model)
            rows.append(
                ServedStream(
                    stream=stream.binding.name,
                    model=stream.binding.model,
                    version=server.ref.version if server else 0,
                    provider=server.model.provider if server else "",
                    predictions=stream.predictions,
                    rejected=stream.rejected,
                    faults=stream.faults.listed(),
                )
            )
        return tuple(rows)

    def serving(self) -> list[tuple[StreamBinding, Manifest]]:
        """Return each stream that a release serves now, with that release's manifest."""
        pairs = [(stream.binding, self._servers.get(stream.binding.model)) for stream in list(self._streams.values())]
        return [(binding, server.model.manifest) for binding, server in pairs if server is not None]

    @property
    def healthy(self) -> bool:
        """Whether the serving thread lives and is not stuck in a batch."""
        began = self._batch_began
        return self._thread.is_alive() and (began is None or self._ticks() - began < HANGS_S)

    @property
    def dropped(self) -> int:
        """Messages that no longer fitted a queue, over all streams."""
        return sum(stream.dropped for stream in list(self._streams.values()))

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                while self._serve_round():
                    pass
            except Exception:  # a daemon's loop: whatever one batch does, the next is served
                self.errors += 1
                log.exception("a batch failed in an unforeseen way")
                self._wake.set()
            if self._stopping:
                return

    def _serve_round(self) -> bool:
        """Serve one batch of each stream; return whether there was any."""
        served = False
        for stream in list(self._streams.values()):
            with self._serving:
                server = self._servers.get(stream.binding.model)
                if stream.waiting and server is not None and not server.halted and stream.reader is not None:
                    self._batch_began = self._ticks()
                    try:
                        self._serve_batch(stream, server, stream.reader)
                    finally:
                        self._batch_began = None
                    served = True
        return served

    def _serve_batch(self, stream: Stream, server: Server, reader: RowReader) -> None:
        window = stream.window
        if window is None:
            window = Window(stream.binding.name, server.model.manifest, server.model.provider, self._clock())
            stream.window = window
        taken = stream.take()
        back: Sequence[SensorMessage] = ()
        try:
            back = self._answer(stream, server, window, reader, taken)
        finally:
            self._settle_all(message for message in taken if message not in back)

    def _answer(
        self, stream: Stream, server: Server, window: Window, reader: RowReader, taken: list[SensorMessage]
    ) -> Sequence[SensorMessage]:
        """Answer or refuse each message; return those that were put back for another release."""
        batch, payloads = [], []
        for message in taken:
            if isinstance(message.payload, int):
                text = f"{message.payload} bytes, and {PAYLOAD_LIMIT_BYTES} are allowed"
                self._reject(stream, window, Rejection("too-large", text), message.payload)
            else:
                batch.append(message)
                payloads.append(message.payload)
        rows = reader.read(payloads)
        for index, rejection in rows.rejected:
            self._reject(stream, window, rejection, len(payloads[index]))
        return self._predict(stream, server, window, batch, rows) if rows.accepted else ()

    def _predict(
        self, stream: Stream, server: Server, window: Window, batch: list[SensorMessage], rows: Rows
    ) -> Sequence[SensorMessage]:
        began = self._ticks()
        try:
            predictions = server.model.predict(rows.columns)
        except ModelRunError as error:
            if len(rows.accepted) == 1:
                self._fail(stream, server, window, batch[rows.accepted[0]], str(error))
                return ()
            return self._one_by_one(stream, server, window, batch, rows)
        took_s = self._ticks() - began
        self._hand_over(stream, server, predictions, rows, [batch[index] for index in rows.accepted])
        stream.predictions += len(predictions)
        now = self._ticks()
        latency_ms = np.array([(now - batch[index].arrived) * 1000 for index in rows.accepted], dtype=np.float32)
        window.add(rows.columns, predictions, latency_ms, sum(_weight(batch[index].payload) for index in rows.accepted))
        self._judge(server, predictions, took_s)
        return ()

    def _one_by_one(
        self, stream: Stream, server: Server, window: Window, batch: list[SensorMessage], rows: Rows
    ) -> Sequence[SensorMessage]:
        """Serve a batch that failed row by row, so that one bad row takes no other with it."""
        for row, index in enumerate(rows.accepted):
            if server.halted:  # the release that takes over serves the rest
                rest = [batch[other] for other in rows.accepted[row:]]
                stream.put_back(rest)
                return rest
            alone = Rows([column[row : row + 1] for column in rows.columns], [rows.keys[row]], [index], [])
            self._predict(stream, server, window, batch, alone)
        return ()

    def _hand_over(
        self, stream: Stream, server: Server, predictions: Predictions, rows: Rows, messages: Sequence[SensorMessage]
    ) -> None:
        manifest, topic = server.model.manifest, stream.binding.output_topic
        values = predictions.values.tolist()
        shares: Iterable[dict[str, float] | None] = itertools.repeat(None, len(values))
        if predictions.probabilities is not None:
            shares = (dict(zip(manifest.classes, row, strict=True)) for row in predictions.probabilities.tolist())
        for value, key, share, message in zip(values, rows.keys, shares, messages, strict=True):
            again = message.receipt is not None and message.receipt.again
            name = message_id(message.payload)
            made = Prediction(value, manifest.model, manifest.version, key, share, id=name, again=again)
            self._publish(topic, _encode(made))

    def _judge(self, server: Server, predictions: Predictions, took_s: float) -> None:
        """Weigh a release on trial; predictions that are no numbers count as failures."""
        if server.trial is None:
            return
        values: Array = predictions.values if predictions.probabilities is None else predictions.probabilities
        if values.dtype.kind != "f" or np.isfinite(values).any():
            server.trial.served(len(predictions), took_s)
        else:
            server.trial.failed("its predictions are not numbers (NaN or infinite)", len(predictions))
        self._consider(server)

    def _fail(self, stream: Stream, server: Server, window: Window, message: SensorMessage, reason: str) -> None:
        self._reject(stream, window, Rejection("model-failed", reason), _weight(message.payload))
        if server.trial is not None:
            server.trial.failed(reason)
            self._consider(server)

    def _consider(self, server: Server) -> None:
        """Give a release on trial up if its trial says so."""
        reason = server.trial.verdict() if server.trial is not None and not server.halted else None
        if reason is not None:
            server.halted = True
            self._failing(server.ref, reason)

    def _reject(self, stream: Stream, window: Window, rejection: Rejection, size_bytes: int) -> None:
        at = self._clock()
        stream.rejected += 1
        stream.faults.add(rejection, at)
        window.reject(rejection, size_bytes, at)


def _weight(payload: bytes | int) -> int:
    return len(payload) if isinstance(payload, bytes) else 0


def _summary_of(window: Window, end: float, dropped: int) -> Callable[[int], Telemetry]:
    return lambda number: window.summary(number, end, dropped)
