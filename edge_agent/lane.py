"""A lane serves the streams of one model in a thread of its own: what waits as one batch, a message alone at once.

A swap happens between two batches: nothing is lost, and each prediction names the release that made it. A model that is
slow holds up no other model's streams.
"""

import contextlib
import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from edge_agent.batch_costs import BatchCosts
from edge_agent.errors import ModelRunError
from edge_agent.inference import Array, Model, Predictions
from edge_agent.readers import Reader
from edge_agent.reasons import largest
from edge_agent.receipts import SensorMessage
from edge_agent.rejections import Rejection
from edge_agent.rows import Rows
from edge_agent.stream import Stream, weight
from edge_agent.surroundings import Surroundings
from edge_agent.telemetry import Window
from edge_agent.trial import Trial
from protocols.names import ReleaseRef
from protocols.payloads import Prediction, message_id

log = logging.getLogger(__name__)

#: A batch that takes longer hangs.
HANGS_S = 30.0
#: Longest that a batch should take where its stream has no latency budget: who swaps or closes a window waits for it.
BATCH_S = 1.0
#: A message that comes so long after the one before it is alone.
ALONE_S = 0.002
#: A model that takes no longer for a row is quick.
QUICK_S = 0.001

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Server:
    """The release that serves a model now. On `trial` until it is confirmed; `halted` when it was given up."""

    model: Model
    trial: Trial | None = None
    halted: bool = False
    costs: BatchCosts = field(default_factory=BatchCosts)

    @property
    def ref(self) -> ReleaseRef:
        return self.model.manifest.release


class Lane:
    """Serves one model's streams, in turns of one batch each."""

    def __init__(self, model: str, around: Surroundings) -> None:
        self.server: Server | None = None
        #: Unforeseen faults that were outlived, and how often a release took over from another.
        self.errors = self.swaps = 0
        self._around = around
        self._streams: tuple[Stream, ...] = ()
        self._serving = threading.Lock()
        #: Held by who waits for `_serving`, so that a lane under load lets it in after the batch at work.
        self._next = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._batch_began: float | None = None
        self._last_came = 0.0
        self._thread = threading.Thread(target=self._run, name=f"lane-{model}", daemon=True)

    def start(self) -> None:
        if self._thread.ident is None and not self._stopping:
            self._thread.start()

    def wake(self) -> None:
        """There may be something to serve."""
        self._wake.set()

    def end(self) -> None:
        """Serve what waits, then stop."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it came in time."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def healthy(self) -> bool:
        """Whether the thread lives and is not stuck in a batch."""
        began = self._batch_began
        return self._thread.is_alive() and (began is None or self._around.ticks() - began < HANGS_S)

    def bind(self, streams: tuple[Stream, ...]) -> None:
        """Make these the streams; what waited in one that goes is settled."""
        with self._between_batches():
            for stream in self._streams:
                if stream not in streams:
                    self._close_window(stream)
                    self._around.settle_all(stream.part_with_receipts())
            self._streams = streams
        self._wake.set()

    def serve(self, server: Server | None) -> None:
        """Let a release take over between two batches; None: nothing serves, and what waits is settled."""
        with self._between_batches():
            for stream in self._streams:
                self._close_window(stream)
                stream.serve(server.model.manifest if server else None)
                if server is None:
                    self._around.settle_all(stream.part_with_receipts())
            self.swaps += self.server is not None and server is not None
            self.server = server
        self._wake.set()

    def close_windows(self) -> None:
        """End every stream's window."""
        with self._between_batches():
            for stream in self._streams:
                self._close_window(stream)

    @contextlib.contextmanager
    def _between_batches(self) -> Iterator[None]:
        """Have the lane to oneself, as soon as the batch at work is done."""
        with self._next:
            self._serving.acquire()
        try:
            yield
        finally:
            self._serving.release()

    def _close_window(self, stream: Stream) -> None:
        window, stream.window = stream.window, None
        if window is None:
            return
        dropped = stream.newly_dropped()
        if dropped or not window.empty:
            self._around.keep_window(window, self._around.clock(), dropped)

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
        for stream in self._streams:
            if stream.waiting:
                with self._between_batches():
                    served |= stream in self._streams and self._serve_turn(stream)
        return served

    def _serve_turn(self, stream: Stream) -> bool:
        """Serve one batch of a stream, if there is one and a release that may serve it."""
        server = self.server
        if server is None or server.halted or stream.reader is None or not stream.waiting:
            return False
        self._batch_began = self._around.ticks()
        try:
            self._serve_batch(stream, server, stream.reader)
        finally:
            self._batch_began = None
        return True

    def serve_alone(self, stream: Stream, now: float) -> bool:
        """Serve a message that came alone, in the thread that brought it: two changes of thread take longer than it.

        Only a quick model's, where nothing else is at work; returns whether it was served.
        """
        quiet_s, self._last_came = now - self._last_came, now
        server = self.server
        reader = stream.reader
        if quiet_s < ALONE_S or server is None or reader is None or not reader.quick or len(stream.waiting) != 1:
            return False
        if not server.costs.one_row_within(QUICK_S) or not self._around.gate.has_room(server.model.plan.threads):
            return False
        if self._next.locked() or not self._serving.acquire(blocking=False):
            return False
        try:
            return self._serve_turn(stream)
        except Exception:  # as in `_run`
            self.errors += 1
            log.exception("a message failed in an unforeseen way")
            return True
        finally:
            self._serving.release()

    def _serve_batch(self, stream: Stream, server: Server, reader: Reader) -> None:
        window = stream.window
        if window is None:
            window = Window(stream.binding.name, server.model.manifest, server.model.ran, self._around.clock())
            stream.window = window
        taken = stream.take(self._batch_size(stream, server, reader))
        back: Sequence[SensorMessage] = ()
        try:
            back = self._answer(stream, server, window, reader, taken)
        finally:
            self._around.settle_all(message for message in taken if message not in back)

    def _batch_size(self, stream: Stream, server: Server, reader: Reader) -> int:
        """Return the most messages that one batch may take, so that the oldest is answered within its budget."""
        binding = stream.binding
        most = min(reader.most_rows, server.model.plan.max_batch or reader.most_rows)
        if len(stream.waiting) == 1:
            return 1
        if binding.latency_budget_ms is None:
            return server.costs.bounded(most, BATCH_S)
        waited_s = self._around.ticks() - stream.waiting[0].arrived
        return server.costs.largest(most, binding.latency_budget_ms / 1000 - waited_s)

    def _answer(
        self, stream: Stream, server: Server, window: Window, reader: Reader, taken: list[SensorMessage]
    ) -> Sequence[SensorMessage]:
        """Answer or refuse each message; return those that were put back for another release."""
        batch, payloads = [], []
        for message in taken:
            if isinstance(message.payload, int):
                text = f"{message.payload} bytes, and {stream.payload_limit_bytes} are allowed"
                self._reject(stream, window, Rejection("too-large", text), message.payload)
            else:
                batch.append(message)
                payloads.append(message.payload)
        rows = reader.read(payloads) if reader.quick else self._read_between(reader, payloads)
        for index, rejection in rows.rejected:
            self._reject(stream, window, rejection, len(payloads[index]))
        if rows.warming:
            stream.warming += len(rows.warming)
            window.warm(len(rows.warming), sum(len(payloads[index]) for index in rows.warming))
        return self._predict(stream, server, window, batch, rows) if rows.accepted else ()

    def _read_between(self, reader: Reader, payloads: Sequence[bytes]) -> Rows:
        """Read what takes a core for a while, when there is one."""
        self._batch_began = None
        self._around.gate.enter(1)
        self._alive()
        try:
            return reader.read(payloads, self._alive)
        finally:
            self._around.gate.leave(1)

    def _alive(self) -> None:
        """A batch goes on, however long all of it takes."""
        self._batch_began = self._around.ticks()

    def _predict(
        self, stream: Stream, server: Server, window: Window, batch: list[SensorMessage], rows: Rows
    ) -> Sequence[SensorMessage]:
        try:
            predictions, took_s = self._run_model(stream, server.model, rows)
        except ModelRunError as error:
            if len(rows.accepted) == 1:
                self._fail(stream, server, window, batch[rows.accepted[0]], str(error))
                return ()
            return self._one_by_one(stream, server, window, batch, rows)
        served = batch if len(rows.accepted) == len(batch) else [batch[index] for index in rows.accepted]
        self._hand_over(stream, server, predictions, rows, served)
        server.costs.learn(len(served), took_s + rows.reading_s)
        self._count(stream, window, rows, predictions, served)
        self._judge(server, predictions, took_s)
        return ()

    def _run_model(self, stream: Stream, model: Model, rows: Rows) -> tuple[Predictions, float]:
        """Return the predictions, and the seconds that the model took for them once it had its cores."""
        gate, threads, carrier = self._around.gate, model.plan.threads, stream.carrier
        self._batch_began = None  # a wait for the others is no hang
        gate.enter(threads)
        try:
            began = self._batch_began = self._around.ticks()
            predictions = carrier.predict(model, rows.columns) if carrier else model.predict(rows.columns)
            return predictions, self._around.ticks() - began
        finally:
            gate.leave(threads)

    def _count(
        self, stream: Stream, window: Window, rows: Rows, predictions: Predictions, served: Sequence[SensorMessage]
    ) -> None:
        arrived = np.array([message.arrived for message in served])
        latency_s = self._around.ticks() - arrived
        latency_ms = (latency_s * 1000).astype(np.float32)
        budget_ms = stream.binding.latency_budget_ms
        late = 0 if budget_ms is None else int(np.count_nonzero(latency_ms > budget_ms))
        stream.predictions += len(served)
        stream.late += late
        stream.durations.add_all(latency_s.tolist())
        window.add(rows, predictions, latency_ms, sum(weight(message.payload) for message in served), late)

    def _one_by_one(
        self, stream: Stream, server: Server, window: Window, batch: list[SensorMessage], rows: Rows
    ) -> Sequence[SensorMessage]:
        """Serve a batch that failed row by row, so that one bad row takes no other with it."""
        for row in range(len(rows.accepted)):
            if server.halted:  # the release that takes over serves the rest
                rest = [batch[other] for other in rows.accepted[row:]]
                stream.put_back(rest)
                if stream.reader is not None:
                    stream.reader.begin_anew()  # it has read them already
                return rest
            self._predict(stream, server, window, batch, rows.only(row))
        return ()

    def _hand_over(
        self, stream: Stream, server: Server, predictions: Predictions, rows: Rows, messages: Sequence[SensorMessage]
    ) -> None:
        manifest, topic, publish = server.model.manifest, stream.binding.output_topic, self._around.publish
        model, version = manifest.model, manifest.version
        shares: Iterable[dict[str, float] | None] = itertools.repeat(None)
        if predictions.probabilities is not None:
            shares = (dict(zip(manifest.classes, row, strict=True)) for row in predictions.probabilities.tolist())
        reasons: Iterable[dict[str, float] | None] = itertools.repeat(None)
        if stream.binding.contributions and predictions.contributions is not None:
            names = [spec.name for spec in manifest.inputs]
            reasons = largest(names, predictions.contributions, stream.binding.contributions)
        given = zip(predictions.values.tolist(), rows.keys, shares, reasons, messages, strict=False)
        for value, key, share, added, message in given:
            again = message.receipt is not None and message.receipt.again
            made = Prediction(
                value, model, version, key, share, message_id(message.payload), again, contributions=added
            )
            publish(topic, _encode(made))

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
        self._reject(stream, window, Rejection("model-failed", reason), weight(message.payload))
        if server.trial is not None:
            server.trial.failed(reason)
            self._consider(server)

    def _consider(self, server: Server) -> None:
        """Give a release on trial up if its trial says so."""
        reason = server.trial.verdict() if server.trial is not None and not server.halted else None
        if reason is not None:
            server.halted = True
            self._around.failing(server.ref, reason)

    def _reject(self, stream: Stream, window: Window, rejection: Rejection, size_bytes: int) -> None:
        at = self._around.clock()
        stream.rejected += 1
        stream.faults.add(rejection, at)
        window.reject(rejection, size_bytes, at)
