"""What a device says where TLS with its broker fails: one line that names the fault and the way out."""

import datetime
import queue
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from simulators.secure_broker import SecureBroker, enrol_device, make_key

from edge_agent.link import Identity, Link
from protocols.broker import BrokerAddress
from registry.catalogue import Catalogue
from registry.certificates import Holder
from registry.cli import init
from registry.identity import Authority
from registry.mosquitto.keeper import BrokerKeeper
from registry.revocation import revoke

WHO = Holder("osaka.press-1")


class World:
    """A registry with its broker and one device."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "registry", folder
        init(self.home)
        self.broker = SecureBroker(self.home, folder / "broker", ("127.0.0.1", "localhost"))
        pair = enrol_device(self.home, folder, "press-1")
        self.pair = folder / "identity.pem"
        self.pair.write_bytes(pair.with_suffix(".crt").read_bytes() + pair.with_suffix(".key").read_bytes())
        self.ca = self.home / "ca" / "ca.pem"
        self.catalogue = Catalogue.open(self.home)
        self.keeper = BrokerKeeper(self.home, self.catalogue, time.time)
        self.keeper.keep()
        self.broker.start()

    def show(self, authority: Authority, *, server: bool = False) -> None:
        """Let the device show another certificate."""
        key = make_key(self.folder / "other.key")
        holder = Holder(WHO.common_name, use="server" if server else "client")
        made = authority.issue(holder, key.public_key(), datetime.timedelta(hours=1))
        self.pair.write_bytes(made.pem.encode() + (self.folder / "other.key").read_bytes())

    def says(self, host: str = "127.0.0.1", begins_at: float = 0.0) -> str:
        """Return what the link tells first: `up`, or why not."""
        told: queue.Queue[str] = queue.Queue()

        class Ear:
            def link_up(self) -> None:
                told.put("up")

            def link_down(self, reason: str) -> None:
                told.put(reason)

            def message(self, topic: str, payload: bytes) -> None:
                pass

        identity = Identity(self.pair, self.ca, begins_at)
        address = BrokerAddress(host, self.broker.port, True)
        link = Link(address, "osaka.press-1", ("will", b""), Ear(), identity=identity, first_delay_s=0.05)
        link.start()
        said = told.get(timeout=10)
        link.stop(1)
        return said


@pytest.fixture
def world(tmp_path: Path) -> Any:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    made = World(tmp_path)
    yield made
    made.broker.stop()
    made.catalogue.close()


def test_a_broker_of_another_authority_is_named_as_such(world: World, tmp_path: Path) -> None:
    Authority(tmp_path / "foreign", time.time).create()
    world.ca = tmp_path / "foreign" / "ca" / "ca.pem"
    assert "its certificate is of another authority than the registry's; check the address" in world.says()


def test_a_broker_under_another_name_is_named_as_such(world: World) -> None:
    assert world.says("localhost") == "up"
    where = f"broker 127.0.0.2:{world.broker.port}"
    world.broker.stop()
    config = world.broker.folder / "mosquitto.conf"
    config.write_text(config.read_text().replace(" 127.0.0.1\n", " 127.0.0.2\n"))
    world.broker._answers = lambda: True  # type: ignore[method-assign]
    world.broker.start()
    said = ""
    deadline = time.monotonic() + 10
    while "certificate" not in said and time.monotonic() < deadline:
        said = world.says("127.0.0.2")
    assert said.startswith(f"{where}: its certificate is not for the name '127.0.0.2'")
    assert said.endswith("with --host")


def test_a_device_cannot_pass_for_the_broker(world: World, tmp_path: Path) -> None:
    world.broker.stop()
    shutil.copy(tmp_path / "press-1.crt", world.broker.folder / "broker.crt")
    shutil.copy(tmp_path / "press-1.key", world.broker.folder / "broker.key")
    world.broker.start()
    assert "a certificate that is no server's" in world.says()


@pytest.mark.parametrize(
    ("ago_h", "words"), [(2.0, ("has expired", "expired")), (-48.0, ("refuses", "ends the connection"))]
)
def test_a_certificate_at_the_wrong_time_is_named_as_such(world: World, ago_h: float, words: tuple[str, ...]) -> None:
    world.show(Authority(world.home, lambda: time.time() - ago_h * 3600))
    said = world.says()
    assert any(word in said for word in words), said
    assert "enrol it anew" in said


def test_a_revoked_device_is_told_and_how_to_come_back(world: World) -> None:
    revoke(world.home, world.catalogue, "press-1", time.time)
    world.keeper.keep()
    deadline = time.monotonic() + 10
    while (said := world.says()) == "up" and time.monotonic() < deadline:
        pass
    assert "revoked" in said or "ends the connection" in said
    assert "enrol it anew (`genba registry token ... --replace`)" in said


def test_a_port_that_speaks_no_tls_is_named_as_such(world: World, mosquitto: Any) -> None:
    world.broker.port = mosquitto.port
    said = world.says()
    assert "TLS" in said or "ends the connection" in said


def test_a_clock_of_1970_does_not_shut_a_device_out(world: World) -> None:
    """Its own certificate proves that the clock is wrong: then the broker's dates are left aside, and only they."""
    authority = Authority(world.home, lambda: time.time() + 90 * 86_400)
    folder = world.broker.folder
    world.broker.stop()
    (folder / "broker.crt").unlink()
    authority.renew_server(folder / "broker.crt", folder / "broker.key", ["127.0.0.1"])
    world.broker.start()
    assert "is not valid yet by this machine's clock" in world.says()
    assert world.says(begins_at=time.time() + 3600) == "up"
