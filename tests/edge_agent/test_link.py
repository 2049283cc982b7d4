"""The link: never in the clear, waits for its broker, comes back, keeps its session, shows its certificate."""

import datetime
import ipaddress
import queue
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion
from simulators.broker_process import Broker, wait_until
from simulators.raw_broker import RawBroker

from edge_agent.errors import LinkError
from edge_agent.link import Identity, Link
from protocols.broker import BrokerAddress
from protocols.errors import BrokerAddressError


class Ear:
    """Collects what a link tells."""

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()

    def link_up(self) -> None:
        self.told.put("up")

    def link_down(self, reason: str) -> None:
        self.told.put(("down", reason))

    def message(self, topic: str, payload: bytes) -> None:
        self.told.put((topic, payload))

    def unreadable(self, topic: bytes) -> None:
        self.told.put(("unreadable", topic))

    def hears(self, wanted: Any, timeout_s: float = 10) -> None:
        while self.told.get(timeout=timeout_s) != wanted:
            pass


def connect(port: int, ear: Ear, **options: Any) -> Link:
    link = Link(
        BrokerAddress("127.0.0.1", port, False), "osaka.press-1", ("will", b"gone"), ear, first_delay_s=0.05, **options
    )
    link.subscribe(frozenset({"sensors"}))
    link.start()
    return link


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mqtt://127.0.0.1:1884", BrokerAddress("127.0.0.1", 1884, False)),
        ("mqtt://localhost", BrokerAddress("localhost", 1883, False)),
        ("mqtts://broker.example", BrokerAddress("broker.example", 8883, True)),
        ("mqtts://broker.example:9000/", BrokerAddress("broker.example", 9000, True)),
    ],
)
def test_addresses(url: str, wanted: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == wanted


@pytest.mark.parametrize(
    "url",
    ["mqtt://broker.example:1883", "http://x", "broker:1883", "mqtts://", "mqtts://x:port", "mqtt://10.0.0.1"],
)
def test_an_address_that_is_none_or_unencrypted_is_refused(url: str) -> None:
    with pytest.raises(BrokerAddressError, match="mqtts://"):
        BrokerAddress.parse(url)


def test_a_broker_that_is_not_there_is_told_and_waited_for(broker: Broker) -> None:
    broker.stop()
    ear = Ear()
    link = connect(broker.port, ear)
    assert ear.told.get(timeout=5) == ("down", f"no broker answers at 127.0.0.1:{broker.port}")
    broker.start()
    ear.hears("up")
    link.stop(1)


def test_a_link_whose_thread_meets_something_unforeseen_connects_anew(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wait before the next try that fails, and a listener that raises: paho's own thread would end of either."""
    monkeypatch.setattr("edge_agent.lasting_client._PAUSE_S", 0.01)
    ear, heard = Ear(), queue.Queue[bytes]()
    monkeypatch.setattr(ear, "message", lambda topic, payload: heard.put(payload) if payload != b"poison" else 1 / 0)
    link = connect(broker.port, ear)
    sender = Link(BrokerAddress("127.0.0.1", broker.port, False), "osaka.line", ("will", b""), Ear())
    sender.start()

    def sends(payload: bytes, until: Callable[[], Any]) -> None:
        """Publish again and again: nobody says when the link has its subscription."""

        def again() -> Any:
            sender.publish("sensors", payload)
            return until()

        wait_until(again, what=f"what {payload!r} does")

    try:
        sends(b"poison", lambda: link.errors)
        with monkeypatch.context() as broken:
            broken.setattr(mqtt.Client, "_reconnect_wait", lambda client: [][0])
            broker.stop()
            outlived = link.errors
            wait_until(lambda: link.errors > outlived + 2, what="faults that are counted")
            broker.start()
        sends(b"22", lambda: not heard.empty())
    finally:
        link.stop(1)
        sender.stop(1)
    assert "connects anew" in caplog.text


def test_what_is_published_while_the_broker_is_away_arrives_after(broker: Broker) -> None:
    ear = Ear()
    link = connect(broker.port, ear)
    ear.hears("up")
    broker.stop()
    assert ear.told.get(timeout=5) == ("down", f"broker 127.0.0.1:{broker.port}: the connection is lost")
    payloads = [b"1", b"2", b"3"]
    for payload in payloads:
        link.publish("sensors", payload)
    assert link.latency.wait_s() == 0.0  # what waits for a link is no measure of one
    broker.start()
    for payload in payloads:
        ear.hears(("sensors", payload))
    link.stop(1)


def test_the_broker_keeps_messages_for_an_agent_that_is_away(broker: Broker) -> None:
    ear = Ear()
    link = connect(broker.port, ear)
    ear.hears("up")
    link.publish("sensors", b"a")
    ear.hears(("sensors", b"a"))
    link.pause()
    other = mqtt.Client(CallbackAPIVersion.VERSION2, "line")
    other.connect("127.0.0.1", broker.port)
    other.loop_start()
    other.publish("sensors", b"while it stops", qos=1).wait_for_publish(5)
    link.stop(1)
    other.publish("sensors", b"while it is away", qos=1).wait_for_publish(5)
    later = Ear()
    again = connect(broker.port, later)
    later.hears(("sensors", b"while it stops"))
    later.hears(("sensors", b"while it is away"))
    again.stop(1)
    other.disconnect()
    other.loop_stop()


@pytest.fixture
def raw_broker() -> Iterator[RawBroker]:
    broker = RawBroker()
    yield broker
    broker.close()


@pytest.mark.parametrize("kept", [False, True])
def test_a_topic_that_is_no_text_is_told_and_acknowledged(raw_broker: RawBroker, kept: bool) -> None:
    """Unacknowledged, the broker would bring it again at every connection."""
    ear = Ear()
    link = connect(raw_broker.port, ear, keep=lambda topic, payload, receipt: kept)
    ear.hears("up")
    wait_until(lambda: raw_broker.connections == 1)
    raw_broker.publish(b"sens\xffors", b"1", number=7)
    raw_broker.publish(b"\xc0\x80", b"2")
    raw_broker.publish(b"sensors", b"3")
    assert [ear.told.get(timeout=5) for _ in range(3)] == [
        ("unreadable", b"sens\xffors"), ("unreadable", b"\xc0\x80"), ("sensors", b"3")
    ]  # fmt: skip
    wait_until(lambda: raw_broker.acknowledged == [7])
    link.stop(1)


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\x03\xff\xff\x00",  # a topic longer than the packet
        b"\x30\x01\x00",
        b"\x32\x03\x00\x01a",  # no number, at QoS 1
        b"\x30\x02\x00\x00",  # no topic
        b"\x36\x05\x00\x01a\x00\x01",  # QoS 3
        b"\x40\x00",
        b"\x90\x01\x00",
        b"\xf0\x00",
        b"\x30\xff\xff\xff\xff\x01",  # a length that has no end
    ],
)
def test_a_packet_that_is_none_ends_the_connection_and_not_the_link(raw_broker: RawBroker, packet: bytes) -> None:
    ear = Ear()
    link = connect(raw_broker.port, ear)
    wait_until(lambda: raw_broker.connections == 1)
    raw_broker.send(packet)
    wait_until(lambda: raw_broker.connections == 2)
    raw_broker.publish(b"sensors", b"1")
    ear.hears(("sensors", b"1"))
    link.stop(1)


def test_subscriptions_follow_the_assignment(broker: Broker) -> None:
    ear = Ear()
    link = connect(broker.port, ear)
    ear.hears("up")
    link.subscribe(frozenset({"others"}))
    link.publish("sensors", b"no longer heard")
    link.publish("others", b"heard")
    assert ear.told.get(timeout=5) == ("others", b"heard")
    link.stop(1)


def issue(folder: Path, name: str, ca: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """Write a key and certificate, by a CA or as one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca[1].subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(ca[0] if ca else key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(pem)
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    return key, certificate


@pytest.fixture
def secure_broker(broker: Broker, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A mosquitto that asks for certificates of its CA."""
    folder = tmp_path / "tls"
    folder.mkdir()
    ca = issue(folder, "ca")
    for name in ("broker", "osaka.press-1"):
        issue(folder, name, ca)
    broker.stop()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user root\nlistener {broker.port} 127.0.0.1\ncafile {folder}/ca.crt\ncertfile {folder}/broker.crt\n"
        f"keyfile {folder}/broker.key\nrequire_certificate true\nuse_identity_as_username true\n"
    )
    process = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(broker._answers, what="a broker with TLS")
    yield broker.port, folder
    process.terminate()
    process.wait(5)


def test_the_device_shows_its_certificate_and_checks_the_brokers(secure_broker: tuple[int, Path]) -> None:
    port, folder = secure_broker
    ear = Ear()
    identity = Identity(folder / "osaka.press-1.pem", folder / "ca.crt")
    address = BrokerAddress("127.0.0.1", port, True)
    link = Link(address, "osaka.press-1", ("will", b""), ear, identity=identity, first_delay_s=0.05)
    link.start()
    ear.hears("up")
    link.stop(1)


# paho leaves the socket of a failed handshake to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_broker_of_another_authority_is_refused(secure_broker: tuple[int, Path], tmp_path: Path) -> None:
    port, folder = secure_broker
    issue(tmp_path, "ca")
    ear = Ear()
    identity = Identity(folder / "osaka.press-1.pem", tmp_path / "ca.crt")
    address = BrokerAddress("127.0.0.1", port, True)
    link = Link(address, "osaka.press-1", ("will", b""), ear, identity=identity, first_delay_s=0.05)
    link.start()
    assert ear.told.get(timeout=5)[0] == "down"
    link.stop(1)


def test_a_key_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    for name in ("pair", "ca"):
        (tmp_path / name).write_text("nothing")
    identity = Identity(tmp_path / "pair", tmp_path / "ca")
    with pytest.raises(LinkError, match="enrol it again"):
        Link(BrokerAddress("127.0.0.1", 1, True), "x", ("will", b""), Ear(), identity=identity)
