"""100 MiB from the registry to an agent, through mosquitto, beside bare paho with the same block size and QoS.

The registry's MQTT service and the agent's downloads are the real ones, each in a process of its own. Both times end
with the last byte: in memory for bare paho, on disk for the agent. The last column is the whole fetch: metadata of both
repositories, all files, verified, durable, in the release store. Then the same with 50 ms of round trip between the
agent and the broker.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SIZE_BYTES = 100 * 1024 * 1024
BLOCK_BYTES = 64 * 1024
ROUNDS = 5
ROUND_TRIP_S = 0.05


def fetch(home: Path, port: int) -> None:
    """Be the agent: fetch the release and print how long it took."""
    from simulators.release_link import fetching_agent

    with fetching_agent(home, port) as agent:
        began = time.perf_counter()
        agent.install()
        print(json.dumps({"all_s": time.perf_counter() - began, "moved_s": agent.moved_s, "rss_mb": agent.peak_mb()}))


def receive(port: int) -> None:
    """Be the bare receiver."""
    import paho.mqtt.client as mqtt

    received = 0

    def on_message(client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        nonlocal received
        received += len(message.payload)
        if received >= SIZE_BYTES:
            print("done", flush=True)
            client.disconnect()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe("bench", 1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", port)
    client.loop_forever()


def send(port: int) -> None:
    """Be the bare sender."""
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(256)
    client.connect("127.0.0.1", port)
    client.loop_start()
    block = os.urandom(BLOCK_BYTES)
    sent = [client.publish("bench", block, qos=1) for _ in range(SIZE_BYTES // BLOCK_BYTES)]
    for each in sent:
        each.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def _child(*arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, env=environment)


def measure_bare(port: int, near: int) -> float:
    receiver = _child("--receive", str(near))
    assert receiver.stdout is not None
    assert receiver.stdout.readline().strip() == b"ready"
    began = time.perf_counter()
    sender = _child("--send", str(port))
    started = time.perf_counter() - began
    assert receiver.stdout.readline().strip() == b"done"
    seconds = time.perf_counter() - began - started
    sender.wait(60)
    receiver.wait(60)
    return seconds


def measure_agent(home: Path, near: int) -> dict[str, float]:
    shutil.rmtree(home / "releases", ignore_errors=True)
    child = _child("--fetch", str(near), "--home", str(home))
    out, _ = child.communicate(timeout=300)
    assert child.returncode == 0
    found: dict[str, float] = json.loads(out)
    return found


def main() -> None:
    from simulators.bad_link import BadLink
    from simulators.broker_process import Broker
    from simulators.release_link import RegistryService

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder)
        broker.start()
        with RegistryService(folder, broker.url, SIZE_BYTES) as registry:
            far = BadLink(broker.port, delay_s=ROUND_TRIP_S / 2)
            head = f"{'bare paho':>12}{'agent':>8}{'ratio':>8}{'verified, stored':>18}"
            print(f"{'100 MiB, blocks of 64 KiB, QoS 1':34}{head}")
            for label, near in (("loopback", broker.port), ("50 ms round trip", far.port)):
                bare, agent = [], []
                for _ in range(ROUNDS):
                    bare.append(measure_bare(broker.port, near))
                    agent.append(measure_agent(registry.agent_home, near))
                peer = statistics.median(bare)
                moved, whole = (statistics.median(each[key] for each in agent) for key in ("moved_s", "all_s"))
                print(f"{label + ', s':34}{peer:12.2f}{moved:8.2f}{peer / moved:8.2f}{whole:18.2f}")
            far.close()
        broker.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetch", type=int, metavar="PORT")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--receive", type=int, metavar="PORT")
    parser.add_argument("--send", type=int, metavar="PORT")
    options = parser.parse_args()
    if options.fetch:
        fetch(options.home, options.fetch)
    elif options.receive:
        receive(options.receive)
    elif options.send:
        send(options.send)
    else:
        main()
