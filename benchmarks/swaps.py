"""Swaps between two models of 32 MB: memory after 200 of them, and a stream of 1,000 messages a second through them.

The first part loads and serves as the daemon does, in one process. The second is a real agent with a real broker and
signed releases: every 30 s it is assigned the other release, proves it, and swaps. The answers come in the order in
which they were made: where the version in them changes more often than the model was swapped, a model answered that
was not active.

--quick: 40 swaps, and 60 s with a swap every 10 s.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

ROWS_A_SECOND = 1000
TABLE_VALUES = 8 * 1024 * 1024


def table_model(version: int):  # type: ignore[no-untyped-def]
    """prediction = table[AT] + V, with a table of 32 MB that says which version it is."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    table = np.full(TABLE_VALUES, 1000.0 * version, dtype=np.float32)
    nodes = [
        helper.make_node("Cast", ["AT"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["found"], axis=0),
        helper.make_node("Add", ["found", "V"], ["prediction"]),
    ]
    number = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("AT", "V", "prediction")]
    graph = helper.make_graph(nodes, "table", number[:2], number[2:], [numpy_helper.from_array(table, "table")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def write(folder: Path, version: int):  # type: ignore[no-untyped-def]
    import numpy as np
    from simulators.small_models import write_release

    columns = [np.array([[1.0], [2.0], [3.0]], np.float32)] * 2
    return write_release(folder, version=version, model=table_model(version), columns=columns)


def memory_mb() -> float:
    line = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def measure_memory(folder: Path, swaps: int) -> None:
    from edge_agent.inference import Model
    from edge_agent.session_plan import SessionPlan
    from edge_agent.streams import StreamEngine
    from protocols.assignment import StreamBinding

    manifests = {version: write(folder / str(version), version) for version in (1, 2)}
    answered, wanted, done = 0, 0, threading.Event()

    def publish(_topic: str, _payload: bytes) -> None:
        nonlocal answered
        answered += 1
        if answered >= wanted:
            done.set()

    engine = StreamEngine(publish, lambda *_: None)
    engine.bind([StreamBinding("main", "ccpp", "in", "out", key="id")])
    engine.start()
    readings = []
    for swap in range(swaps):
        version = 1 + swap % 2
        model = Model(folder / str(version), manifests[version], SessionPlan(threads=1))
        engine.serve("ccpp", model, on_trial=True)
        del model
        wanted = answered + 100
        done.clear()
        for number in range(100):
            engine.offer("in", json.dumps({"id": number, "AT": 5, "V": 1}).encode())
        assert done.wait(30)
        engine.close_windows()
        readings.append(memory_mb())
    tenth, last = readings[9], statistics.median(readings[-5:])
    print(f"memory (PSS) after 1 swap {readings[0]:.1f} MB, 10 swaps {tenth:.1f} MB, {swaps} swaps {last:.1f} MB")
    print(f"ratio {swaps} swaps / 10 swaps: {last / tenth:.3f} (limit 1.05)")
    engine.stop(5)


class Answers:
    """What the line hears: keys that were answered, and how often the version changed."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt

        self.keys: set[int] = set()
        self.again = self.wrong = self.changes = 0
        self._version = 0
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "line")
        self.client.max_inflight_messages_set(1000)
        self.client.on_message = self._on_message
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("plant/predictions", 1)
        self.client.loop_start()
        assert ready.wait(5)

    def _on_message(self, _client: object, _data: object, message) -> None:  # type: ignore[no-untyped-def]
        answer = json.loads(message.payload)
        self.again += answer["key"] in self.keys
        self.keys.add(answer["key"])
        self.wrong += answer["prediction"] != 1000.0 * answer["version"] + 1
        if answer["version"] != self._version:
            self.changes += 1
            self._version = answer["version"]


def measure_stream(folder: Path, seconds: float, every_s: float) -> None:
    from simulators.agent_home import make_home
    from simulators.agent_process import STREAM, Agent, assign
    from simulators.broker_process import Broker
    from simulators.registry_side import RegistrySide, SignedReleases

    from protocols.names import ReleaseRef

    (folder / "broker").mkdir()
    broker = Broker(folder / "broker")
    broker.start()
    signed = SignedReleases(folder / "registry")
    side = RegistrySide(broker.port, signed.read)
    refs = [ReleaseRef("ccpp", version) for version in (1, 2)]
    for ref in refs:
        write(folder / str(ref), ref.version)
        signed.publish(ref, folder / str(ref))
    agent = Agent(make_home(folder / "agent", signed, broker.url))
    answers = Answers(broker.port)
    try:
        assign(signed, side, refs[0], window_s=60.0, confirm_s=2.0)
        side.wait_for(lambda: "release-confirmed" in side.kinds(), 60)
        sent, began, next_swap, swaps = 0, time.monotonic(), every_s, 0
        while (now := time.monotonic() - began) < seconds:
            if now >= next_swap:
                swaps, next_swap = swaps + 1, next_swap + every_s
                assign(signed, side, refs[swaps % 2], window_s=60.0, confirm_s=2.0)
            while sent < now * ROWS_A_SECOND:
                answers.client.publish(STREAM.topic, json.dumps({"id": sent, "AT": 5, "V": 1}).encode(), qos=1)
                sent += 1
            time.sleep(0.002)
        side.wait_for(lambda: side.kinds().count("release-active") == swaps + 1, 60)
        deadline = time.monotonic() + 60
        while len(answers.keys) < sent and time.monotonic() < deadline:
            time.sleep(0.1)
        lost = sent - len(answers.keys)
        print(f"{sent} messages in {seconds:.0f} s, {swaps} swaps: {lost} lost, {answers.again} answered twice")
        print(f"by a model that was not active: {max(0, answers.changes - swaps - 1)}; wrong values: {answers.wrong}")
    finally:
        agent.close()
        answers.client.disconnect()
        answers.client.loop_stop()
        side.close()
        broker.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 swaps, and 60 s with a swap every 10 s")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        measure_memory(Path(name) / "memory", 40 if quick else 200)
        measure_stream(Path(name), 60 if quick else 600, 10 if quick else 30)
