"""Messages a second through mosquitto: the agent's serving path beside a bare paho + ONNX Runtime loop.

All sides are one process each, hear QoS 1 and answer QoS 1 on the same broker, with the same ONNX file. The agent's
sides validate every field, keep their telemetry windows and name the release in each answer; one acknowledges a message
when its answer is on its way, as the bare loop does, the other on arrival.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Literal

MESSAGES = 15_000
ROUNDS = 3
#: Messages that the broker leaves unacknowledged at a time: mosquitto's default, and more than the agent's batch.
WINDOWS = (20, 1000)
STREAM = "plant/bench/sensors"
OUT = "plant/bench/predictions"


def serve_bare(release: Path, port: int) -> None:
    import numpy as np
    import onnxruntime
    import paho.mqtt.client as mqtt

    session = onnxruntime.InferenceSession(str(release / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def on_message(client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        row = json.loads(message.payload)
        feeds = {name: np.array([[row[name]]], dtype=np.float32) for name in names}
        value = session.run(None, feeds)[0]
        client.publish(OUT, json.dumps({"key": row["key"], "prediction": float(value.ravel()[0])}), qos=1)

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    # Without it the bare loop answers a lone message after 44 ms and more: Nagle's algorithm against delayed acks.
    client.on_socket_open = lambda _c, _d, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe(STREAM, 1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", port)
    client.loop_forever()


def serve_agent(release: Path, port: int, delivery: Literal["at-least-once", "at-most-once"]) -> None:
    from edge_agent.inference import Model
    from edge_agent.link import Link
    from edge_agent.session_plan import SessionPlan
    from edge_agent.streams import StreamEngine
    from protocols.assignment import StreamBinding
    from protocols.broker import BrokerAddress
    from protocols.manifest import decode_manifest

    class Listener:
        def link_up(self) -> None:
            print("ready", flush=True)

        def link_down(self, reason: str) -> None:
            print(reason, file=sys.stderr)

        def message(self, topic: str, payload: bytes) -> None:
            engine.offer(topic, payload)

    manifest = decode_manifest((release / "release.json").read_bytes())
    engine = StreamEngine(
        lambda topic, payload: link.publish(topic, payload),
        lambda *_: None,
        settle=lambda receipts: link.settle(receipts),
    )
    name, address = f"bench-{os.getpid()}", BrokerAddress("127.0.0.1", port, False)
    link = Link(address, name, ("bench/status", b""), Listener(), keep=engine.offer)
    engine.bind([StreamBinding("main", manifest.model, STREAM, OUT, key="key", delivery=delivery)])
    engine.serve(manifest.model, Model(release, manifest, SessionPlan(threads=1)))
    engine.start()
    link.subscribe(frozenset([STREAM]))
    link.start()
    while True:
        time.sleep(10)
        engine.close_windows()


SIDES = {
    "bare": serve_bare,
    "agent": partial(serve_agent, delivery="at-least-once"),
    "at-most-once": partial(serve_agent, delivery="at-most-once"),
}


def measure(side: str, release: Path, port: int, rows: list[bytes]) -> tuple[float, float, float]:
    """Return (messages a second under load, p50 and p99 in ms when each message is alone)."""
    import paho.mqtt.client as mqtt

    server = subprocess.Popen(
        [sys.executable, __file__, "--side", side, "--release", str(release), "--port", str(port)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline().strip() == b"ready"
        time.sleep(0.5)
        answered, wanted, done = 0, 0, threading.Event()

        def on_message(*_: object) -> None:
            nonlocal answered
            answered += 1
            if answered >= wanted:
                done.set()

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1000)
        client.on_socket_open = lambda _c, _d, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.on_message = on_message
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.subscribe(OUT, 1)
        assert subscribed.wait(10)

        alone = []
        for row in rows[:300]:
            wanted = answered + 1
            done.clear()
            began = time.perf_counter()
            client.publish(STREAM, row, qos=1)
            assert done.wait(10)
            alone.append((time.perf_counter() - began) * 1000)
        alone.sort()

        wanted = answered + len(rows)
        done.clear()
        began = time.perf_counter()
        for row in rows:
            client.publish(STREAM, row, qos=1)
        assert done.wait(120), f"{answered} of {wanted} answers"
        rate = len(rows) / (time.perf_counter() - began)
        client.disconnect()
        client.loop_stop()
        return rate, statistics.median(alone), alone[int(len(alone) * 0.99)]
    finally:
        server.kill()
        server.wait()


def compare(release: Path, folder: Path, broker: str, rows: list[bytes], window: int) -> None:
    """Print the sides' figures on a broker that leaves so many messages unacknowledged at a time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages {window}\n"
        "set_tcp_nodelay true\n"
    )
    mosquitto = subprocess.Popen([broker, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        results: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
        for _ in range(ROUNDS):
            for side, runs in results.items():
                runs.append(measure(side, release, port, rows))
    finally:
        mosquitto.kill()
        mosquitto.wait()
    found = {side: [statistics.median(run[i] for run in runs) for i in range(3)] for side, runs in results.items()}
    print(f"the broker's window: {window} messages")
    print(f"{'':28}{'bare loop':>12}{'agent':>12}{'ratio':>8}{'at-most-once':>14}{'ratio':>8}")
    for label, i in (("messages a second", 0), ("alone, p50 ms", 1), ("alone, p99 ms", 2)):
        bare, agent, most = (found[side][i] for side in SIDES)
        print(f"{label:28}{bare:12.2f}{agent:12.2f}{agent / bare:8.2f}{most:14.2f}{most / bare:8.2f}")


def main() -> None:
    from _plant_release import train_release

    broker = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if broker is None:
        sys.exit("serving: needs mosquitto (Debian: apt install mosquitto)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release, readings = train_release(folder)
        rows = (readings * (MESSAGES // len(readings) + 1))[:MESSAGES]
        for window in WINDOWS:
            compare(release, folder, broker, rows, window)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=list(SIDES))
    parser.add_argument("--release", type=Path)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.side:
        SIDES[options.side](options.release, options.port)
    else:
        main()
