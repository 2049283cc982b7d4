"""The streams of a device: which messages go to which stream, and which release serves them, each model in its lane.

Lanes, and numpy with them, are imported when the first stream comes: a device that has none keeps the memory.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from edge_agent.cores import CoreGate
from edge_agent.receipts import Receipt, SensorMessage
from edge_agent.stream import Stream
from edge_agent.surroundings import Surroundings
from edge_agent.trial import Trial
from protocols.assignment import STREAM_LIMITS, StreamBinding
from protocols.manifest import Manifest
from protocols.messages import ServedStream, Telemetry
from protocols.names import ReleaseRef
from protocols.payloads import Prediction, message_id

if TYPE_CHECKING:
    from edge_agent.inference import Model
    from edge_agent.lane import Lane, Server
    from edge_agent.telemetry import Window

Publish = Callable[[str, bytes], None]

#: What a stream that refuses says to a message that finds no room.
QUEUE_FULL = "queue-full"


class StreamEngine:
    """Serves every stream of a device, each model's in a thread of its own.

    Args:
        publish: takes (topic, payload); must not block.
        failing: told once, from a lane's thread, when a release on trial fails too often or takes too long. Its
            streams then wait until `serve` is called for the model again.
        settle: takes the receipts of messages that need not be sent again: answered, refused or dropped.
        clock: seconds since the epoch, for windows. ticks: seconds of a steady clock, for latencies.
        cores: that the models' runs may keep busy together.
    """

    def __init__(
        self,
        publish: Publish,
        failing: Callable[[ReleaseRef, str], None],
        *,
        settle: Callable[[Sequence[Receipt]], None] = lambda receipts: None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.perf_counter,
        cores: int = 1,
    ) -> None:
        self._publish, self._ticks = publish, ticks
        self._around = Surroundings(publish, failing, settle, self._keep_window, clock, ticks, CoreGate(cores))
        self._streams: dict[str, Stream] = {}
        self._by_topic: dict[str, tuple[tuple[Stream, Lane], ...]] = {}
        self._lanes: dict[str, Lane] = {}
        self._closed: list[tuple[Window, float, int]] = []
        self._closing = threading.Lock()
        self._started = self._stopped = False

    def start(self) -> None:
        self._started = True
        for lane in self._lanes.values():
            lane.start()

    def stop(self, timeout_s: float) -> bool:
        """Serve what waits, then stop. Returns whether all was served in time."""
        self._stopped = True
        deadline = time.monotonic() + timeout_s
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.end()
        ended = [lane.join(max(0.0, deadline - time.monotonic())) for lane in lanes]
        return all(ended)

    def offer(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> bool:
        """Take one sensor message; called by the link's thread, never blocks.

        A message that no release can serve now, or whose stream wants no more than that, is settled at once: unsettled
        messages fill the broker's window, and nothing else would come through it, the release that could serve them
        least of all.

        Returns:
            Whether there is a stream for it.
        """
        streams = self._by_topic.get(topic, ())
        keepers = [stream for stream, _ in streams if stream.keeps_receipts] if receipt is not None else []
        if receipt is not None:
            if keepers:
                receipt.shares = len(keepers)
            elif streams:
                self._around.settle([receipt])
        now = self._ticks()
        for stream, lane in streams:
            gone = stream.offer(payload, now, receipt if stream in keepers else None)
            if gone:
                self._give_way(stream, gone)
            if not lane.serve_alone(stream, now):
                lane.wake()
        return bool(streams)

    def _give_way(self, stream: Stream, gone: Sequence[SensorMessage]) -> None:
        """Settle what found no room; a stream that refuses says so, so that the sender knows."""
        if stream.binding.overflow == "refuse":
            for message in gone:
                self._publish(stream.binding.output_topic, self._refusal(stream, message))
        self._around.settle_all(gone)

    def _refusal(self, stream: Stream, message: SensorMessage) -> bytes:
        lane, reader = self._lanes.get(stream.binding.model), stream.reader
        server = lane.server if lane is not None else None
        key = reader.key_of(message.payload) if reader is not None and isinstance(message.payload, bytes) else None
        said = Prediction(
            None,
            stream.binding.model,
            server.ref.version if server else 0,
            key,
            id=message_id(message.payload),
            error=QUEUE_FULL,
        )
        return msgspec.json.encode(said)

    def bind(self, bindings: Sequence[StreamBinding]) -> None:
        """Make these the streams; one that is there already in the same form keeps its queue and counts."""
        before = self._streams
        kept = {}
        for binding in bindings:
            stream = before.get(binding.name)
            kept[binding.name] = stream if stream and stream.binding == binding else self._new_stream(binding)
        self._streams = kept
        topics: dict[str, tuple[tuple[Stream, Lane], ...]] = {}
        for stream in kept.values():
            topic = stream.binding.topic
            topics[topic] = (*topics.get(topic, ()), (stream, self._lane(stream.binding.model)))
        self._by_topic = topics  # before the lanes let go of a stream: what it got is settled there
        for model, lane in list(self._lanes.items()):
            lane.bind(tuple(stream for stream in kept.values() if stream.binding.model == model))
        self._end_idle_lanes()

    def _new_stream(self, binding: StreamBinding) -> Stream:
        stream, model = Stream(binding), self.active(binding.model)
        if model is not None:
            stream.serve(model.manifest)
        return stream

    def _lane(self, model: str) -> "Lane":
        lane = self._lanes.get(model)
        if lane is None:
            from edge_agent.lane import Lane

            lane = self._lanes[model] = Lane(model, self._around)
            if self._started and not self._stopped:
                lane.start()
        return lane

    def _end_idle_lanes(self) -> None:
        wanted = {stream.binding.model for stream in self._streams.values()}
        for model, lane in list(self._lanes.items()):
            if lane.server is None and model not in wanted:
                del self._lanes[model]
                lane.end()

    def serve(self, name: str, model: "Model | None", *, on_trial: bool = False) -> None:
        """Let a release take over its model's streams between two batches; None: nothing serves them."""
        if model is None:
            if name in self._lanes:
                self._lanes[name].serve(None)
                self._end_idle_lanes()
            return
        from edge_agent.lane import Server

        self._lane(name).serve(Server(model, Trial(model.manifest.latency_limit_ms) if on_trial else None))

    def confirm(self, ref: ReleaseRef) -> None:
        """End a release's trial: from now on it keeps serving, whatever single messages do to it."""
        lane = self._lanes.get(ref.model)
        server = lane.server if lane is not None else None
        if lane is not None and server is not None and server.ref == ref:
            server.trial, server.halted = None, False
            lane.wake()

    def close_windows(self) -> list[Callable[[int], Telemetry]]:
        """End every stream's window; return one function per window that holds anything, from its id to its message."""
        for lane in list(self._lanes.values()):
            lane.close_windows()
        with self._closing:
            closed, self._closed = self._closed, []
        return [_summary_of(*window) for window in closed]

    def _keep_window(self, window: "Window", end: float, dropped: int) -> None:
        with self._closing:
            self._closed.append((window, end, dropped))

    def servers(self) -> "dict[str, Server | None]":
        """Return what serves each model now; None: nothing yet, or nothing any more."""
        bound: dict[str, Server | None] = {stream.binding.model: None for stream in self.streams()}
        return bound | {name: lane.server for name, lane in list(self._lanes.items())}

    def swaps(self) -> dict[str, int]:
        """Return how often a release of each model took over from another."""
        return {name: lane.swaps for name, lane in list(self._lanes.items())}

    def streams(self) -> list[Stream]:
        """Return the streams, to be read and not to be changed."""
        return list(self._streams.values())

    @property
    def gate(self) -> CoreGate:
        """What every run of a model goes through."""
        return self._around.gate

    def active(self, name: str) -> "Model | None":
        """Return what serves a model now."""
        server = self.server(name)
        return server.model if server is not None else None

    def server(self, name: str) -> "Server | None":
        """Return the release that serves a model now, with its trial."""
        lane = self._lanes.get(name)
        return lane.server if lane is not None else None

    def served(self) -> tuple[ServedStream, ...]:
        """Return what serves each stream now, for the status."""
        rows = []
        for stream in list(self._streams.values()):
            server, reader = self.server(stream.binding.model), stream.reader
            filling = reader is not None and reader.held < reader.needed
            rows.append(
                ServedStream(
                    stream=stream.binding.name,
                    model=stream.binding.model,
                    version=server.ref.version if server else 0,
                    provider=server.model.provider if server else "",
                    asked=server.model.asked if server else "",
                    placement=server.model.placement if server else {},
                    predictions=stream.predictions,
                    rejected=stream.rejected,
                    dropped=stream.dropped,
                    late=stream.late,
                    warming=stream.warming,
                    window=(reader.held, reader.needed) if filling and reader is not None else None,
                    faults=stream.faults.listed(),
                )
            )
        return tuple(rows)

    def serving(self) -> list[tuple[StreamBinding, Manifest]]:
        """Return each stream that a release serves now, with that release's manifest."""
        pairs = [(stream.binding, self.active(stream.binding.model)) for stream in list(self._streams.values())]
        return [(binding, model.manifest) for binding, model in pairs if model is not None]

    @property
    def limits(self) -> dict[str, dict[str, int | float | str]]:
        """What each stream asks for beyond its topics, where it is not the default."""
        asked = {stream.binding.name: msgspec.to_builtins(stream.binding) for stream in list(self._streams.values())}
        chosen = {name: {key: one[key] for key in STREAM_LIMITS if key in one} for name, one in asked.items()}
        return {name: limits for name, limits in chosen.items() if limits}

    @property
    def healthy(self) -> bool:
        """Whether every lane's thread lives and none is stuck in a batch."""
        return self._started and all(lane.healthy for lane in list(self._lanes.values()))

    @property
    def waiting(self) -> int:
        """Sensor messages that wait, over all streams that something serves."""
        streams = list(self._streams.values())
        return sum(len(stream.waiting) for stream in streams if self.server(stream.binding.model) is not None)

    @property
    def errors(self) -> int:
        """Unforeseen faults that were outlived."""
        return sum(lane.errors for lane in list(self._lanes.values()))

    @property
    def dropped(self) -> int:
        """Messages that no longer fitted a queue, over all streams."""
        return sum(stream.dropped for stream in list(self._streams.values()))


def _summary_of(window: "Window", end: float, dropped: int) -> Callable[[int], Telemetry]:
    return lambda number: window.summary(number, end, dropped)
