"""The streams of a device: bounded queues of sensor messages, served in batches by the model that is active.

What waits is served as one batch, and a message alone at once. A swap happens between two batches: nothing is lost,
and each prediction names the release that made it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from edge_agent.errors import ModelRunError
from edge_agent.faults import Faults
from edge_agent.inference import Array, Model, Predictions
from edge_agent.rows import PAYLOAD_LIMIT_BYTES, Rejection, RowReader, Rows
from edge_agent.telemetry import Window
from protocols.assignment import StreamBinding
from protocols.manifest import Manifest
from protocols.messages import ServedStream, Telemetry
from protocols.names import ReleaseRef
from protocols.payloads import Prediction

log = logging.getLogger(__name__)

#: A release on trial that fails on this many messages in a row is given up.
FAILURES_ALLOWED = 5

#: Most that one stream's waiting messages may weigh, whatever their number.
QUEUE_LIMIT_BYTES = 32 * 1024 * 1024

#: A batch that takes longer hangs.
HANGS_S = 30.0

Publish = Callable[[str, bytes], None]
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Server:
    """The release that serves a model now. `on_trial` until it is confirmed; `halted` when it was given up."""

    model: Model
    on_trial: bool
    failures: int = 0
    halted: bool = False

    @property
    def ref(self) -> ReleaseRef:
        return self.model.manifest.release


class Stream:
    """One binding, its queue and its counts. The link's thread appends, the serving thread takes."""

    def __init__(self, binding: StreamBinding) -> None:
        self.binding = binding
        #: A message that was too large waits as its size alone.
        self.waiting: deque[tuple[bytes | int, float]] = deque()
        self.dropped = 0
        self.predictions = 0
        self.rejected = 0
        self.faults = Faults()
        self.reader: RowReader | None = None
        self.window: Window | None = None
        self._dropped_before = 0
        # Bytes that came and bytes that went, each written by one thread alone.
        self._bytes_in = self._bytes_gone = self._bytes_taken = 0

    def offer(self, payload: bytes, now: float) -> None:
        """Queue one message; the oldest give way when the queue is full, by count or by bytes."""
        size = len(payload)
        item = payload if size <= PAYLOAD_LIMIT_BYTES else size
        self._bytes_in += _weight(item)
        while len(self.waiting) >= self.binding.queue_limit or self._bytes_waiting > QUEUE_LIMIT_BYTES:
            try:
                oldest, _ = self.waiting.popleft()
            except IndexError:
                break  # the serving thread has just emptied it
            self._bytes_gone += _weight(oldest)
            self.dropped += 1
        self.waiting.append((item, now))

    @property
    def _bytes_waiting(self) -> int:
        return self._bytes_in - self._bytes_gone - self._bytes_taken

    def take(self) -> list[tuple[bytes | int, float]]:
        """Return what waits, at most a batch."""
        taken: list[tuple[bytes | int, float]] = []
        try:
            while len(taken) < self.binding.max_batch:
                taken.append(self.waiting.popleft())
        except IndexError:
            pass
        self._bytes_taken += sum(_weight(payload) for payload, _ in taken)
        return taken

    def put_back(self, messages: Sequence[tuple[bytes, float]]) -> None:
        """Return messages that were taken to the front of the queue."""
        self._bytes_taken -= sum(_weight(payload) for payload, _ in messages)
        self.waiting.extendleft(reversed(messages))

    def newly_dropped(self) -> int:
        """Return how many were dropped since the last call."""
        dropped, self._dropped_before = self.dropped - self._dropped_before, self.dropped
        return dropped


class StreamEngine:
    """Serves every stream of a device in one thread.

    Args:
        publish: takes (topic, payload); must not block.
        failing: told once, from the serving thread, when a release on trial fails on message after message. Its
            streams then wait until `serve` is called for the model again.
        clock: seconds since the epoch, for windows. ticks: seconds of a steady clock, for latencies.
    """

    def __init__(
        self,
        publish: Publish,
        failing: Callable[[ReleaseRef, str], None],
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._publish, self._failing = publish, failing
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

    def offer(self, topic: str, payload: bytes) -> None:
        """Take one sensor message; called by the link's thread, never blocks."""
        now = self._ticks()
        for stream in self._by_topic.get(topic, ()):
            stream.offer(payload, now)
        self._wake.set()

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
                self._servers.pop(name, None)
            else:
                self._servers[name] = Server(model, on_trial)
        self._wake.set()

    def confirm(self, ref: ReleaseRef) -> None:
        """End a release's trial: from now on it keeps serving, whatever single messages do to it."""
        server = self._servers.get(ref.model)
        if server is not None and server.ref == ref:
            server.on_trial = server.halted = False
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
        batch: list[tuple[bytes, float]] = []
        for payload, arrived in taken:
            if isinstance(payload, int):
                text = f"{payload} bytes, and {PAYLOAD_LIMIT_BYTES} are allowed"
                self._reject(stream, window, Rejection("too-large", text), payload)
            else:
                batch.append((payload, arrived))
        rows = reader.read([payload for payload, _ in batch])
        for index, rejection in rows.rejected:
            self._reject(stream, window, rejection, len(batch[index][0]))
        if rows.accepted:
            self._predict(stream, server, window, batch, rows)

    def _predict(
        self, stream: Stream, server: Server, window: Window, batch: list[tuple[bytes, float]], rows: Rows
    ) -> None:
        try:
            predictions = server.model.predict(rows.columns)
        except ModelRunError as error:
            if len(rows.accepted) == 1:
                self._fail(stream, server, window, batch[rows.accepted[0]], str(error))
            else:
                self._one_by_one(stream, server, window, batch, rows)
            return
        self._hand_over(stream, server, predictions, rows)
        stream.predictions += len(predictions)
        now = self._ticks()
        latency_ms = np.array([(now - batch[index][1]) * 1000 for index in rows.accepted], dtype=np.float32)
        window.add(rows.columns, predictions, latency_ms, sum(len(batch[index][0]) for index in rows.accepted))
        self._judge(server, predictions)

    def _one_by_one(
        self, stream: Stream, server: Server, window: Window, batch: list[tuple[bytes, float]], rows: Rows
    ) -> None:
        """Serve a batch that failed row by row, so that one bad row takes no other with it."""
        for row, index in enumerate(rows.accepted):
            if server.halted:  # the release that takes over serves the rest
                stream.put_back([batch[other] for other in rows.accepted[row:]])
                return
            alone = Rows([column[row : row + 1] for column in rows.columns], [rows.keys[row]], [index], [])
            self._predict(stream, server, window, batch, alone)

    def _hand_over(self, stream: Stream, server: Server, predictions: Predictions, rows: Rows) -> None:
        manifest, topic = server.model.manifest, stream.binding.output_topic
        values = predictions.values.tolist()
        if predictions.probabilities is None:
            for value, key in zip(values, rows.keys, strict=True):
                self._publish(topic, _encode(Prediction(value, manifest.model, manifest.version, key)))
            return
        classes = manifest.classes
        for value, key, row in zip(values, rows.keys, predictions.probabilities.tolist(), strict=True):
            shares = dict(zip(classes, row, strict=True))
            self._publish(topic, _encode(Prediction(value, manifest.model, manifest.version, key, shares)))

    def _judge(self, server: Server, predictions: Predictions) -> None:
        """Count predictions that are no numbers as failures of a release on trial."""
        values: Array = predictions.values if predictions.probabilities is None else predictions.probabilities
        if values.dtype.kind != "f" or np.isfinite(values).any():
            server.failures = 0
            return
        server.failures += len(predictions)
        self._give_up(server, "its predictions are not numbers (NaN or infinite)")

    def _fail(self, stream: Stream, server: Server, window: Window, message: tuple[bytes, float], reason: str) -> None:
        self._reject(stream, window, Rejection("model-failed", reason), len(message[0]))
        server.failures += 1
        self._give_up(server, reason)

    def _give_up(self, server: Server, reason: str) -> None:
        if server.on_trial and not server.halted and server.failures >= FAILURES_ALLOWED:
            server.halted = True
            self._failing(server.ref, f"{server.failures} messages in a row failed: {reason}")

    def _reject(self, stream: Stream, window: Window, rejection: Rejection, size_bytes: int) -> None:
        at = self._clock()
        stream.rejected += 1
        stream.faults.add(rejection, at)
        window.reject(rejection, size_bytes, at)


def _weight(payload: bytes | int) -> int:
    return len(payload) if isinstance(payload, bytes) else 0


def _summary_of(window: Window, end: float, dropped: int) -> Callable[[int], Telemetry]:
    return lambda number: window.summary(number, end, dropped)
