"""Twenty streams of five models on one device, all under load: is any of them starved?

One process serves all, through mosquitto at QoS 1. Every stream gets the same number of messages, as fast as the broker
takes them, a stream's next when its last ones were answered; the models differ in what one row costs. Printed is each
stream's 99th percentile from message to answer, the slowest beside the fastest, and the rate beside that of one stream.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MODELS, STREAMS_OF_EACH = 5, 4
#: Of one stream on their way at a time.
ON_THEIR_WAY = 5


def topic(number: int) -> str:
    return f"plant/{number}/sensors"


def serve(folder: Path, port: int, streams: int) -> None:
    from edge_agent.inference import Model
    from edge_agent.link import Link
    from edge_agent.releases import read_release
    from edge_agent.session_plan import SessionPlan
    from edge_agent.streams import StreamEngine
    from protocols.assignment import StreamBinding
    from protocols.broker import BrokerAddress

    class Listener:
        def link_up(self) -> None:
            print("ready", flush=True)

        def link_down(self, reason: str) -> None:
            print(reason, file=sys.stderr)

        def message(self, topic: str, payload: bytes) -> None:
            engine.offer(topic, payload)

        def unreadable(self, topic: bytes) -> None:
            print(topic, file=sys.stderr)

    engine = StreamEngine(
        lambda topic, payload: link.publish(topic, payload),
        lambda *_: None,
        settle=lambda receipts: link.settle(receipts),
        cores=len(os.sched_getaffinity(0)),
    )
    name, address = f"bench-{os.getpid()}", BrokerAddress("127.0.0.1", port, False)
    link = Link(address, name, ("bench/status", b""), Listener(), keep=engine.offer)
    engine.bind(
        [
            StreamBinding(f"s{number}", f"m{number % MODELS}", topic(number), f"plant/{number}/predictions", key="id")
            for number in range(streams)
        ]
    )
    for number in range(MODELS):
        release = folder / f"m{number}"
        engine.serve(f"m{number}", Model(release, read_release(release), SessionPlan(threads=1)))
    engine.start()
    link.subscribe(frozenset(topic(number) for number in range(streams)))
    link.start()
    while True:
        time.sleep(10)
        engine.close_windows()


class Load:
    """Keeps a few messages of every stream on their way, and times each."""

    def __init__(self, port: int, streams: int, messages: int) -> None:
        import paho.mqtt.client as mqtt

        self._messages, self._sent = messages, [0] * streams
        self.times: list[list[float]] = [[] for _ in range(streams)]
        self._left, self.done = streams * messages, threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(1000)
        self._client.on_socket_open = lambda _c, _d, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.on_message = self._answered
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("plant/+/predictions", 1)
        self._client.loop_start()
        assert ready.wait(10)

    def run(self) -> float:
        """Return the messages a second."""
        began = time.perf_counter()
        for _ in range(ON_THEIR_WAY):
            for stream in range(len(self._sent)):
                self._send(stream)
        assert self.done.wait(300), f"{self._left} answers are missing"
        seconds = time.perf_counter() - began
        self._client.disconnect()
        self._client.loop_stop()
        return len(self._sent) * self._messages / seconds

    def _send(self, stream: int) -> None:
        if self._sent[stream] < self._messages:
            self._sent[stream] += 1
            row = {"id": time.perf_counter(), "AT": 5.0, "V": 100.0}
            self._client.publish(topic(stream), json.dumps(row).encode(), qos=1)

    def _answered(self, _client: object, _data: object, message) -> None:  # type: ignore[no-untyped-def]
        stream = int(message.topic.split("/")[1])
        self.times[stream].append((time.perf_counter() - json.loads(message.payload)["key"]) * 1000)
        self._send(stream)
        self._left -= 1
        if self._left == 0:
            self.done.set()


def measure(folder: Path, port: int, streams: int, messages: int) -> tuple[float, list[float]]:
    """Return the messages a second, and each stream's 99th percentile in ms."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder), "--port", str(port), "--streams", str(streams)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == b"ready"
        time.sleep(0.5)
        load = Load(port, streams, messages)
        rate = load.run()
        return rate, [sorted(times)[int(len(times) * 0.99)] for times in load.times]
    finally:
        server.kill()
        server.wait()


def main(messages: int) -> None:
    from simulators.small_models import CPU, regression, slow_regression, write_release

    broker = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if broker is None:
        sys.exit("many_streams: needs mosquitto (Debian: apt install mosquitto)")
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        for number in range(MODELS):
            # One of them takes 100 times longer.
            model = regression(bias=float(number)) if number else slow_regression()
            quick = [np.ones((2, 1), np.float32)] * 2
            write_release(folder / f"m{number}", name=f"m{number}", model=model, columns=quick)
        (folder / "mosquitto.conf").write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 100\nset_tcp_nodelay true\n"
        )
        mosquitto = subprocess.Popen([broker, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            streams = MODELS * STREAMS_OF_EACH
            alone, _ = measure(folder, port, 2, messages * 5)
            rate, p99 = measure(folder, port, streams, messages)
        finally:
            mosquitto.kill()
            mosquitto.wait()
    print(f"{streams} streams of {MODELS} models, {CPU}: {rate:.0f} messages a second; two streams alone: {alone:.0f}")
    print(f"p99 of each stream, ms: {' '.join(f'{value:.1f}' for value in p99)}")
    print(f"slowest / fastest: {max(p99) / min(p99):.2f} (limit 2)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500, help="to each stream (500)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port, options.streams)
    else:
        main(options.messages)
