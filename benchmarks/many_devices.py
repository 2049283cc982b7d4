"""200 devices pull 20 MB each at once: the registry's memory beside that with 20 devices, its reads, and fairness.

Light clients in a few processes, a real mosquitto, the registry's MQTT service in a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MIB = 1024 * 1024
SIZE_BYTES = 20_000_000
BLOCK_BYTES = 64 * 1024
WINDOW = 8


class Puller:
    """A device that asks for the model's blocks, a window at a time, and throws them away."""

    def __init__(self, port: int, device: str, resource: str) -> None:
        import paho.mqtt.client as mqtt

        from protocols.blocks import BlockPlan
        from protocols.topics import DeviceTopics

        self.topics, self.resource = DeviceTopics("osaka", device), resource
        self.missing = set(range(BlockPlan(SIZE_BYTES, BLOCK_BYTES).count))
        self.asked: set[int] = set()
        self.finished_at = 0.0
        self.heard_at = time.monotonic()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"osaka.{device}")
        self.client.on_message = self.on_message
        self.client.on_connect = lambda client, *_: client.subscribe(self.topics.down("blocks"), 1)
        self.client.connect("127.0.0.1", port)

    def ask(self) -> None:
        from protocols.blocks import wanted_blocks
        from protocols.messages import BlockRequest, encode

        first, mask = wanted_blocks(iter(sorted(self.missing - self.asked)), WINDOW - len(self.asked))
        if mask:
            from protocols.blocks import blocks_of

            self.asked.update(blocks_of(first, mask))
            request = BlockRequest(1, self.resource, BLOCK_BYTES, first, mask)
            self.client.publish(self.topics.up("blocks"), encode(request), qos=0)

    def on_message(self, _client: object, _data: object, message: object) -> None:
        from protocols.messages import Block, decode

        block = decode(Block, message.payload)  # type: ignore[attr-defined]
        assert block.status == 200, block.reason
        self.heard_at = time.monotonic()
        self.missing.discard(block.index)
        self.asked.discard(block.index)
        if len(self.asked) <= WINDOW // 2:
            self.ask()
        if not self.missing and not self.finished_at:
            self.finished_at = time.monotonic()


def pull(port: int, resource: str, first: int, count: int) -> None:
    """Be `count` devices; print when each had it all, in seconds from the start."""
    pullers = [Puller(port, f"press-{number}", resource) for number in range(first, first + count)]
    for puller in pullers:
        puller.client.loop_start()
    time.sleep(2)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for puller in pullers:
        puller.ask()
    while any(not puller.finished_at for puller in pullers):
        time.sleep(0.2)
        for puller in pullers:
            if puller.missing and time.monotonic() - puller.heard_at > 20:
                puller.asked.clear()
                puller.heard_at = time.monotonic()
                puller.ask()
    print(json.dumps([puller.finished_at - began for puller in pullers]), flush=True)
    os._exit(0)


def measure(folder: Path, devices: int) -> tuple[float, float, list[float], float]:
    """Return (memory before, peak, seconds of each device, bytes read from disk per byte of the model)."""
    import psutil
    from simulators.broker_process import Broker
    from simulators.release_link import RegistryService

    folder.mkdir()
    broker = Broker(folder)
    broker.start()
    names = tuple(f"press-{number}" for number in range(devices))
    with RegistryService(folder, broker.url, SIZE_BYTES, names) as registry:
        service = psutil.Process(registry.process.pid)
        time.sleep(2)
        before, peak, done = service.memory_info().rss / MIB, [0.0], threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                peak[0] = max(peak[0], service.memory_info().rss / MIB)

        watching = threading.Thread(target=watch)
        watching.start()
        digest = registry.signed._files["large/1/model.onnx"].sha256
        resource = f"image/targets/large/1/{digest}.model.onnx"
        per_child = min(devices, 50)
        children = [
            subprocess.Popen(
                [sys.executable, __file__, "--pull", str(broker.port), resource, str(first), str(per_child)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
            )
            for first in range(0, devices, per_child)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "ready"
        reads = service.io_counters().read_chars
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        seconds = [each for child in children for each in json.loads(child.stdout.readline())]  # type: ignore[union-attr]
        done.set()
        watching.join()
        reads = service.io_counters().read_chars - reads
        for child in children:
            child.wait(20)
    broker.stop()
    return before, peak[0], seconds, reads / SIZE_BYTES


def main(many: int) -> None:
    few = many // 10
    print(f"{'20 MB each':16}{'registry before':>17}{'peak':>9}{'first':>9}{'median':>9}{'last':>9}{'MB/s':>8}")
    peaks = []
    for devices in (few, many):
        with tempfile.TemporaryDirectory() as name:
            before, peak, seconds, _ = measure(Path(name) / "run", devices)
        peaks.append(peak)
        rate = devices * SIZE_BYTES / 1e6 / max(seconds)
        figures = f"{min(seconds):8.1f}s{statistics.median(seconds):8.1f}s{max(seconds):8.1f}s{rate:8.1f}"
        print(f"{devices:>4} devices    {before:14.1f} MB{peak:6.1f} MB{figures}")
    print(f"memory with {many} devices beside {few}: {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--pull", nargs=4, metavar=("PORT", "RESOURCE", "FIRST", "COUNT"))
    options = parser.parse_args()
    if options.pull:
        port, resource, first, count = options.pull
        pull(int(port), resource, int(first), int(count))
    else:
        main(options.devices)
