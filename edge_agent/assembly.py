"""Where the daemon's parts are built and put together, once."""

import importlib.metadata
import queue
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edge_agent.bench import Bench
from edge_agent.credentials import Credentials
from edge_agent.daemon import Daemon, Inbox, Parts
from edge_agent.errors import HomeError, RenewalError
from edge_agent.fetchers import ResumingFetcher, StickFirst
from edge_agent.installer import Installer
from edge_agent.lifecycle_events import Failing
from edge_agent.link import Identity, Link
from edge_agent.local_endpoint import LocalEndpoint
from edge_agent.measured_memory import MeasuredMemory
from edge_agent.measurer import Measurer
from edge_agent.measuring_orders import DirectedOrders
from edge_agent.memory import Memory
from edge_agent.metadata_process import read_in_child
from edge_agent.outbox import Outbox
from edge_agent.pacing import Bounds
from edge_agent.patching import Patching
from edge_agent.receipts import Receipt
from edge_agent.releases import ReleaseStore
from edge_agent.renewal import Renewer
from edge_agent.reporting import Reporter
from edge_agent.rest import Rest
from edge_agent.service_manager import ServiceManager
from edge_agent.settings import AgentHome, Settings
from edge_agent.signed_metadata import OpenReader, PinnedRoots
from edge_agent.stick import leave_stick
from edge_agent.streams import StreamEngine
from edge_agent.switchboard import Switchboard
from edge_agent.transfer import BlockClient, TransferLimits
from edge_agent.trusted_time import TrustedTime, issued_at
from edge_agent.verification import Verifier
from protocols.broker import BrokerAddress
from protocols.messages import BlockRequest, Status, encode
from protocols.renewal import RenewalReply, RenewalRequest
from protocols.topics import DeviceTopics

if TYPE_CHECKING:
    from edge_agent.http_transfer import RangeClient


def build_daemon(home: AgentHome, service: ServiceManager | None = None, http_port: int | None = None) -> Daemon:
    """Return a daemon for an enrolled home, ready to run; raises as `build_parts`."""
    return Daemon(build_parts(home, service, http_port=http_port, open_reader=read_in_child))


def build_parts(
    home: AgentHome,
    service: ServiceManager | None = None,
    make_bench: Callable[[AgentHome, Settings, ReleaseStore], Bench] = Bench,
    http_port: int | None = None,
    open_reader: OpenReader | None = None,
) -> Parts:
    """Return what a daemon is made of.

    Args:
        service: is told that the daemon lives.
        make_bench: makes what checks, proves and loads releases.
        http_port: in the place of the settings'; 0: no endpoint.
        open_reader: who reads signed metadata; without it, this process does.

    Raises:
        HomeError, LinkError, BrokerAddressError: the home is not in order; the text says what to do.
    """
    settings = home.settings()
    address = BrokerAddress.parse(settings.broker_url)
    roots = PinnedRoots(home.read_trust(home.image_root), home.read_trust(home.director_root))
    topics = DeviceTopics(settings.site, settings.device)
    inbox: Inbox = queue.SimpleQueue()
    store = ReleaseStore(home.releases)
    outbox = Outbox(home.outbox, limit_bytes=settings.outbox_bytes, first_id=int(time.time() * 1000))
    version = importlib.metadata.version("genba") if _installed() else "0"

    # Engine, blocks and link know each other through these closures alone; the link is made last.
    def publish(topic: str, payload: bytes) -> None:
        link.publish(topic, payload)

    def ask(request: BlockRequest) -> bool:
        return link.ask(topics.up("blocks"), encode(request))

    def settle(receipts: Sequence[Receipt]) -> None:
        link.settle(receipts)

    bench = make_bench(home, settings, store)
    engine = StreamEngine(
        publish,
        lambda ref, reason: inbox.put(Failing(ref, reason)),
        settle=settle,
        cores=bench.hardware.cores,
    )
    blocks = BlockClient(
        ask,
        home.partial,
        TransferLimits(Bounds(settings.block_bytes, settings.window_bytes)),
        others_wait_s=lambda: link.latency.wait_s(),
        first_transfer=int(time.time()),
    )
    switchboard = Switchboard(topics, inbox.put, inbox.qsize, engine, blocks)
    instance = secrets.token_hex(8)
    last_word = Status(time.time(), online=False, agent_version=version, profile=settings.profile, instance=instance)
    will = encode(last_word)
    identity = Identity(home.identity, home.ca, issued_at(home.identity))
    client_id = f"{settings.site}.{settings.device}"
    link = Link(address, client_id, (topics.up("status"), will), switchboard, identity=identity, keep=engine.offer)
    downloads = blocks if settings.transport == "mqtt" else _over_http(home, settings, link.latency.wait_s)
    trusted_time = TrustedTime(home.metadata / "time.json", not_before=identity.begins_at)
    verifier = Verifier(
        home.metadata,
        roots,
        StickFirst(home.stick, ResumingFetcher(downloads)),
        device=settings.device,
        profile=settings.profile,
        time=trusted_time,
        patching=Patching(settings.patch_bytes),
        open_reader=open_reader,
    )
    installer = Installer(
        verifier,
        store,
        bench.check,
        bench.prove,
        inbox.put,
        downloads,
        admit=bench.admit,
        leave=lambda stick: leave_stick(home, stick),
        look=bench.look,
        keep_engines=bench.keep_engines,
    )
    measurer = Measurer(
        home.measuring,
        MeasuredMemory(home.measured),
        DirectedOrders(installer, verifier),
        bench.measuring.examine,
        bench.measuring.refusal,
        inbox.put,
        busy=lambda: installer.busy,
        backlog=lambda: engine.waiting,
        now=trusted_time.now,
    )
    reporter = Reporter(outbox, link, topics, clock=time.time, ticks=time.monotonic, instance=instance)
    renew = _build_renewal(home, settings, link, reporter)
    port = settings.http_port if http_port is None else http_port
    return Parts(
        home=home,
        settings=settings,
        topics=topics,
        inbox=inbox,
        engine=engine,
        link=link,
        switchboard=switchboard,
        downloads=downloads,
        installer=installer,
        outbox=outbox,
        reporter=reporter,
        renew=renew,
        memory=Memory(home.state),
        service=service or ServiceManager(),
        endpoint=LocalEndpoint(port, engine, reporter, version),
        load=bench.load,
        share=bench.share,
        facts=lambda: bench.facts,
        building=bench.building,
        measurer=measurer,
        keep_time=trusted_time.keep,
        agent_version=version,
        instance=instance,
    )


def _build_renewal(home: AgentHome, settings: Settings, link: Link, reporter: Reporter) -> Callable[..., None]:
    """Return what keeps the certificate good, called now and then and with each reply of the registry.

    It goes by MQTT, or by HTTPS where the broker takes this device no more.
    """
    if not home.identity.exists():
        return lambda reply=None: None
    topics = DeviceTopics(settings.site, settings.device)

    def ask(request: RenewalRequest) -> RenewalReply:
        if not settings.registry_url:
            raise RenewalError("agent.toml names no registry_url that could be asked")
        rest = Rest(settings.registry_url, home.ca.read_text())
        return rest.post(f"/devices/{settings.device}/renewal", request, RenewalReply)

    def renewed(end: float) -> None:
        link.renewed()
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
        reporter.event("identity-renewed", "info", f"the certificate was renewed; it is good until {day}")

    renewer = Renewer(
        Credentials(home, settings.site, settings.device, time.time),
        lambda request: link.publish(topics.up("renewal"), encode(request)),
        ask,
        renewed=renewed,
        refused=lambda reason: reporter.event("renewal-refused", "error", f"the certificate is not renewed: {reason}"),
        ticks=time.monotonic,
    )

    def renew(reply: RenewalReply | None = None) -> None:
        if reply is not None:
            renewer.answered(reply)
        else:
            renewer.tick(connected=link.connected, turned_away=link.turned_away)

    return renew


def _installed() -> bool:
    return any(True for _ in importlib.metadata.distributions(name="genba"))


def _over_http(home: AgentHome, settings: Settings, others_wait_s: Callable[[], float]) -> "RangeClient":
    from edge_agent.http_transfer import RangeClient  # and with it cryptography, which an agent on MQTT does without
    from edge_agent.request_signer import RequestSigner

    if not settings.registry_url:
        raise HomeError(f'{home.settings_path}: transport = "http" needs registry_url = "https://..."')
    signer = RequestSigner(home.identity, f"{settings.site}.{settings.device}")
    return RangeClient(settings.registry_url, signer, home.partial, ca=home.ca, others_wait_s=others_wait_s)
