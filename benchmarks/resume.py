"""A large release through a link that fails: broker restarts, cut connections; what was sent twice, and memory.

By default 256 MiB, 5 broker restarts; --full: 1 GiB, 20 restarts. Besides, the connection is cut at random moments, in
5 of 100 seconds. The broker keeps nothing on disk: what it held is gone at each restart.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MIB = 1024 * 1024
#: What the link carries: slow enough that the download lasts through all restarts.
RATE_BYTES_S = 12 * MIB
LOST_PER_S = 0.05


def memory_mb() -> float:
    pages = int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def main(size_bytes: int, restarts: int) -> None:
    from simulators.bad_link import BadLink, cutting
    from simulators.broker_process import Broker
    from simulators.release_link import RegistryService, fetching_agent

    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name))
        broker.start()
        link = BadLink(broker.port, delay_s=0.005, rate_bytes_s=RATE_BYTES_S)
        done, restarted, chance = threading.Event(), [0], random.Random(1)
        every_s = size_bytes / RATE_BYTES_S / (restarts + 1)

        def restart() -> None:
            while restarted[0] < restarts and not done.wait(every_s):
                broker.stop()
                broker.start()
                restarted[0] += 1

        with (
            RegistryService(Path(name), broker.url, size_bytes) as registry,
            fetching_agent(registry.agent_home, link.port) as agent,
            cutting(link, lambda: chance.expovariate(LOST_PER_S)),
        ):
            time.sleep(1.0)
            before, began = memory_mb(), time.perf_counter()
            restarting = threading.Thread(target=restart, daemon=True)
            restarting.start()
            peak, watching = [before], threading.Thread(target=lambda: watch(done, peak), daemon=True)
            watching.start()
            agent.install()
            seconds = time.perf_counter() - began
            done.set()
            restarting.join()
            watching.join()
            again = agent.received_bytes / size_bytes - 1
            counts = dict(agent.client.counts)
        link.close()
        broker.stop()
    print(f"{size_bytes // MIB} MiB, {restarted[0]} broker restarts, {link.cuts} connections lost, in {seconds:.0f} s")
    print(f"sent again {100 * again:.2f} % (limit 5 %), memory grew {peak[0] - before:.1f} MB (limit 32 MB), {counts}")


def watch(done: threading.Event, peak: list[float]) -> None:
    while not done.wait(0.05):
        peak[0] = max(peak[0], memory_mb())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="1 GiB through 20 restarts")
    full = parser.parse_args().full
    main(1024 * MIB if full else 256 * MIB, 20 if full else 5)
