"""/metrics: what the agent counts, in Prometheus' text format 0.0.4."""

from collections.abc import Callable, Iterable, Mapping

import psutil

from edge_agent.status import StatusPage
from edge_agent.stream import Stream
from edge_agent.streams import StreamEngine
from edge_agent.tally import BOUNDS_S, CallTally, Durations

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Exposition:
    """Writes metric families in the text format."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """Add a counter or a gauge; nothing where it has no samples."""
        found = [f"{name}{_labels(labels)} {_value(value)}" for labels, value in samples]
        if found:
            self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *found]

    def histogram(self, name: str, text: str, samples: Iterable[tuple[Labels, Durations]]) -> None:
        """Add a histogram of seconds."""
        found = []
        for labels, durations in samples:
            total = 0
            counts = list(durations.counts)
            for bound, count in zip((*map(_value, BOUNDS_S), "+Inf"), counts, strict=True):
                total += count
                found.append(f"{name}_bucket{_labels({**labels, 'le': bound})} {total}")
            found += [
                f"{name}_sum{_labels(labels)} {_value(durations.sum_s)}",
                f"{name}_count{_labels(labels)} {total}",
            ]
        if found:
            self._lines += [f"# HELP {name} {text}", f"# TYPE {name} histogram", *found]

    def text(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _value(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


class Metrics:
    """Collects what there is to tell.

    Args:
        page: returns the newest status page, None before the first.
        tallies: of the calls over HTTP, by model.
        answered: HTTP responses by status. connections: that are open.
    """

    def __init__(
        self,
        engine: StreamEngine,
        page: Callable[[], StatusPage | None],
        tallies: Mapping[str, CallTally],
        answered: Callable[[], Mapping[int, int]],
        connections: Callable[[], int],
        agent_version: str,
    ) -> None:
        self._engine, self._page, self._tallies = engine, page, tallies
        self._answered, self._connections, self._agent_version = answered, connections, agent_version
        self._process = psutil.Process()

    def text(self) -> bytes:
        """Return the whole page."""
        out = Exposition()
        page = self._page()
        if page is not None:
            self._agent(out, page)
        self._streams(out)
        self._models(out)
        self._http(out)
        self._resources(out)
        return out.text()

    def _agent(self, out: Exposition, page: StatusPage) -> None:
        who = {"device": page.device, "site": page.site, "profile": page.profile, "version": self._agent_version}
        out.family("genba_agent_info", "gauge", "Who this agent is.", [(who, 1)])
        for name, kind, text, value in (
            ("genba_broker_connected", "gauge", "Whether the broker is connected.", page.connected),
            ("genba_assignment_revision", "gauge", "Revision of the assignment that is followed.", page.revision),
            (
                "genba_outbox_waiting",
                "gauge",
                "Events and windows that the registry has yet to get.",
                page.outbox_waiting,
            ),
            ("genba_outbox_dropped_total", "counter", "Of those, what found no room.", page.outbox_dropped),
            ("genba_disk_failed", "gauge", "Whether the disk takes nothing.", bool(page.disk_fault)),
            ("genba_errors_total", "counter", "Unforeseen faults that were outlived.", page.errors),
        ):
            out.family(name, kind, text, [({}, value)])
        refused = [({"reason": reason}, count) for reason, count in page.refused.items()]
        out.family("genba_refused_messages_total", "counter", "Registry messages of no use, by reason.", refused)
        held = [({"model": row.model, "version": str(row.version), "state": row.state}, 1) for row in page.releases]
        out.family("genba_release_state", "gauge", "Releases on this device, and how far they have come.", held)

    def _streams(self, out: Exposition) -> None:
        streams = [
            ({"stream": stream.binding.name, "model": stream.binding.model}, stream)
            for stream in self._engine.streams()
        ]
        told: list[tuple[str, str, Callable[[Stream], int]]] = [
            ("predictions", "Messages that were answered.", lambda stream: stream.predictions),
            ("rejected", "Messages that were not served for what was in them.", lambda stream: stream.rejected),
            ("warming", "Messages that filled a window that was not whole yet.", lambda stream: stream.warming),
            ("dropped", "Messages that found no room in the queue.", lambda stream: stream.dropped),
            ("late", "Answers that missed the stream's latency budget.", lambda stream: stream.late),
        ]
        for name, text, value in told:
            samples = [(labels, value(stream)) for labels, stream in streams]
            out.family(f"genba_stream_{name}_total", "counter", text, samples)
        waiting = [(labels, len(stream.waiting)) for labels, stream in streams]
        out.family("genba_stream_waiting", "gauge", "Messages that wait in the queue.", waiting)
        took = [(labels, stream.durations) for labels, stream in streams]
        out.histogram("genba_stream_latency_seconds", "From a message's arrival to its answer.", took)

    def _models(self, out: Exposition) -> None:
        servers = self._engine.servers()
        serving = {name: server for name, server in servers.items() if server is not None}
        info, nodes = [], []
        for name, server in serving.items():
            ran = server.model.ran
            version = {"model": name, "version": str(server.ref.version)}
            info.append(({**version, "provider": ran.provider, "asked": ran.asked}, 1))
            nodes += [({**version, "provider": provider}, count) for provider, count in ran.placement.items()]
        out.family(
            "genba_model_info", "gauge", "Which release serves, on which provider, and which was asked for.", info
        )
        out.family("genba_model_nodes", "gauge", "Nodes of the graph by the provider that has them.", nodes)
        ready = [({"model": name}, server is not None and not server.halted) for name, server in servers.items()]
        out.family("genba_model_ready", "gauge", "Whether a release serves the model.", ready)
        swaps = [({"model": name}, count) for name, count in self._engine.swaps().items()]
        out.family("genba_model_swaps_total", "counter", "How often a release took over from another.", swaps)

    def _http(self, out: Exposition) -> None:
        answered = [({"status": str(status)}, count) for status, count in sorted(self._answered().items())]
        out.family("genba_http_responses_total", "counter", "HTTP responses by status.", answered)
        out.family("genba_http_connections", "gauge", "HTTP connections that are open.", [({}, self._connections())])
        tallies = [({"model": name}, tally) for name, tally in self._tallies.items()]
        told: list[tuple[str, str, Callable[[CallTally], int]]] = [
            ("calls", "Calls for predictions.", lambda tally: tally.calls),
            ("predictions", "Rows that were predicted.", lambda tally: tally.rows),
            ("refused", "Calls that were refused for what was in them.", lambda tally: tally.refused),
            ("failed", "Calls that failed in the model.", lambda tally: tally.failed),
            ("missing", "Numbers that were not measured.", lambda tally: tally.missing),
            ("outside", "Numbers beyond the range that was seen in training.", lambda tally: tally.outside),
        ]
        for name, text, value in told:
            out.family(
                f"genba_http_{name}_total", "counter", text, [(labels, value(tally)) for labels, tally in tallies]
            )
        took = [(labels, tally.durations) for labels, tally in tallies]
        out.histogram("genba_http_latency_seconds", "From a call's arrival to its answer.", took)

    def _resources(self, out: Exposition) -> None:
        """What the official clients tell of a process, by the same names."""
        process = self._process
        with process.oneshot():
            memory, times = process.memory_info(), process.cpu_times()
            for name, kind, text, value in (
                ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", memory.rss),
                ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", memory.vms),
                ("process_cpu_seconds_total", "counter", "CPU time spent in seconds.", times.user + times.system),
                (
                    "process_start_time_seconds",
                    "gauge",
                    "Start time in seconds since the epoch.",
                    process.create_time(),
                ),
                ("process_open_fds", "gauge", "Number of open file descriptors.", process.num_fds()),
                ("process_threads", "gauge", "Number of threads.", process.num_threads()),
            ):
                out.family(name, kind, text, [({}, value)])
