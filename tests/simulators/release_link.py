"""A registry with one large release, and an agent's downloads without the rest of it."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from simulators.agent_home import make_home
from simulators.registry_side import SignedReleases
from simulators.small_models import write_release

from edge_agent.errors import TransferError
from edge_agent.fetchers import ResumingFetcher
from edge_agent.link import Link
from edge_agent.releases import ReleaseStore
from edge_agent.settings import AgentHome
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.transfer import BlockClient
from edge_agent.trusted_time import TrustedTime
from edge_agent.verification import Verifier
from protocols.broker import BrokerAddress
from protocols.messages import Block, BlockRequest, decode, encode
from protocols.names import ReleaseRef
from protocols.topics import DeviceTopics

ROOT = Path(__file__).resolve().parents[2]
REF = ReleaseRef("large", 1)
SITE, DEVICE = "osaka", "press-1"


class RegistryService:
    """A registry's home with one release of `size_bytes`, and its MQTT service in a process of its own."""

    def __init__(self, folder: Path, broker_url: str, size_bytes: int, devices: tuple[str, ...] = (DEVICE,)) -> None:
        from registry.catalogue import Catalogue

        folder.mkdir(exist_ok=True)
        self.home, self._broker_url = folder / "registry", broker_url
        catalogue = Catalogue.create(self.home)
        for device in devices:
            catalogue.devices.add(device, SITE, "x86", "certificate", "1")
        catalogue.close()
        self.signed = SignedReleases(self.home)
        release = folder / "release"
        write_release(release, name=REF.model, version=REF.version)
        with (release / "model.onnx").open("wb") as file:  # the bytes travel; nobody runs them here
            for _ in range(0, size_bytes, 1024 * 1024):
                file.write(os.urandom(min(1024 * 1024, size_bytes)))
        self.signed.publish(REF, release)
        shutil.rmtree(release)
        for device in devices:
            self.signed.assign(device, REF)
        self.agent_home = folder / "agent"
        make_home(self.agent_home, self.signed, broker_url)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "registry.mqtt", "--home", str(self.home), "--broker", self._broker_url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )

    def restart(self) -> None:
        """Kill it without warning, and start it again."""
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def __enter__(self) -> "RegistryService":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class FetchingAgent:
    """The agent's link, downloads and verification, put together as `edge_agent.assembly` does."""

    def __init__(self, home: AgentHome, port: int) -> None:
        topics = DeviceTopics(SITE, DEVICE)
        self._blocks_topic = topics.down("blocks")
        self.received_bytes = 0
        self.moved_s = 0.0
        #: What is done, in a thread of its own, once so many bytes have arrived; in order.
        self.when_arrived: list[tuple[int, Callable[[], None]]] = []

        def ask(request: BlockRequest) -> bool:
            return self.link.ask(topics.up("blocks"), encode(request))

        self.client = BlockClient(
            ask, home.partial, others_wait_s=lambda: self.link.latency.wait_s(), first_transfer=int(time.time())
        )
        roots = PinnedRoots(home.read_trust(home.image_root), home.read_trust(home.director_root))
        fetcher = ResumingFetcher(self)
        trusted_time = TrustedTime(home.metadata / "time.json", not_before=0.0)
        self._verifier = Verifier(home.metadata, roots, fetcher, device=DEVICE, profile="x86", time=trusted_time)
        self.store = ReleaseStore(home.releases)
        self.link = Link(
            BrokerAddress("127.0.0.1", port, False),
            f"{SITE}.{DEVICE}",
            (topics.up("status"), b""),
            self,
            first_delay_s=0.2,
        )
        self.link.subscribe(frozenset({topics.all_down}))
        self.link.start()

    # What the fetcher asks for: the client's, with the time that the largest file took.

    def fetch(self, resource: str, limit_bytes: int) -> Path:
        began = time.perf_counter()
        path = self.client.fetch(resource, limit_bytes)
        self.moved_s = max(self.moved_s, time.perf_counter() - began)
        return path

    def forget(self, resource: str) -> None:
        self.client.forget(resource)

    # What the link tells

    def link_up(self) -> None:
        self.client.link_up()

    def link_down(self, reason: str) -> None:
        pass

    def message(self, topic: str, payload: bytes) -> None:
        if topic == self._blocks_topic:
            block = decode(Block, payload)
            self.received_bytes += len(block.data)
            self.client.arrived(block)
            if self.when_arrived and self.received_bytes >= self.when_arrived[0][0]:
                threading.Thread(target=self.when_arrived.pop(0)[1], daemon=True).start()

    def install(self) -> None:
        """Fetch the release, trying again as the daemon does, but without its pauses."""
        for _ in range(200):
            try:
                self.install_once()
                return
            except TransferError as error:
                print(f"again: {error}", file=sys.stderr)
        raise SystemExit("the release did not arrive")

    def install_once(self) -> None:
        self._verifier.fetch(REF, self.store)

    def peak_mb(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def fetching_agent(home: Path, port: int) -> Iterator[FetchingAgent]:
    agent = FetchingAgent(AgentHome(home), port)
    deadline = time.monotonic() + 20
    while not agent.link.connected:
        assert time.monotonic() < deadline, "no broker"
        time.sleep(0.01)
    try:
        yield agent
    finally:
        agent.link.stop(1.0)


if __name__ == "__main__":
    with fetching_agent(Path(sys.argv[1]), int(sys.argv[2])) as fetching:
        fetching.install()
