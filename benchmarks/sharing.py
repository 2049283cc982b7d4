"""What predictions wait for on a slow link while a release comes in over it, beside a download with a fixed window.

1 MB/s and 20 ms each way; 20 messages a second, QoS 1, timed from hand-over to the broker's acknowledgement.
"""

import contextlib
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SIZE_BYTES = 20 * 1024 * 1024
RATE_BYTES_S = 1_000_000
SECONDS = 12.0


def main() -> None:
    from simulators.bad_link import BadLink
    from simulators.broker_process import Broker
    from simulators.release_link import FetchingAgent, RegistryService, fetching_agent

    from edge_agent import transfer
    from edge_agent.errors import TransferError
    from edge_agent.pacing import Pace

    def waits(agent: FetchingAgent) -> list[float]:
        found, until = [], time.monotonic() + SECONDS
        while time.monotonic() < until:
            began = time.perf_counter()
            sent = agent.link._client.publish("plant/predictions", b"x" * 100, qos=1)
            agent.link.latency.sent(sent)
            sent.wait_for_publish(30)
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(0.05)
        return sorted(found)

    def pull(agent: FetchingAgent) -> None:
        with contextlib.suppress(TransferError):  # it is cancelled in the end
            agent.install_once()

    def measure(label: str, *, download: bool) -> None:
        link = BadLink(broker.port, delay_s=0.02, rate_bytes_s=RATE_BYTES_S)
        with fetching_agent(registry.agent_home, link.port) as agent:
            if download:
                shutil.rmtree(registry.agent_home / "partial")
                (registry.agent_home / "partial").mkdir()
                threading.Thread(target=lambda: pull(agent), daemon=True).start()
                time.sleep(3.0)
            before = agent.received_bytes
            found = waits(agent)
            rate = (agent.received_bytes - before) / SECONDS / 1e6
            agent.client.cancel()
            time.sleep(0.5)
        link.close()
        p50, p99 = statistics.median(found), found[int(len(found) * 0.99)]
        print(f"{label:34}{p50:10.0f}{p99:10.0f}{rate:16.2f}")

    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name))
        broker.start()
        with RegistryService(Path(name) / "world", broker.url, SIZE_BYTES) as registry:
            print(f"{'predictions, ms':34}{'p50':>10}{'p99':>10}{'release, MB/s':>16}")
            measure("no download", download=False)
            measure("download that yields", download=True)
            fixed = Pace(1024 * 1024, 64 * 1024, 0.04)
            transfer.after_round = lambda *_, **__: fixed
            measure("download, fixed window of 1 MiB", download=True)
        broker.stop()


if __name__ == "__main__":
    main()
