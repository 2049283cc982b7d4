"""Renewal on the device: in time, with a fresh key, both ways, and whole at every power cut."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from simulators.secure_broker import enrol_device

from edge_agent.credentials import Credentials
from edge_agent.errors import HomeError, RegistryCallError, RenewalError
from edge_agent.renewal import Renewer
from edge_agent.settings import AgentHome
from protocols.renewal import RenewalReply, RenewalRequest
from registry.catalogue import Catalogue
from registry.cli import init
from registry.errors import RenewalRefusedError
from registry.renewal import renew
from registry.revocation import revoke

DAY = 86_400.0


class World:
    """A registry, a device that is enrolled in it, and one clock for both."""

    def __init__(self, folder: Path) -> None:
        self.now = time.time()
        self.home = folder / "registry"
        init(self.home)
        self.catalogue = Catalogue.open(self.home, self.clock)
        self.device = AgentHome(folder / "agent")
        self.device.folder.mkdir()
        pair = enrol_device(self.home, folder, "press-1", clock=self.clock)
        self.device.identity.write_bytes(pair.with_suffix(".crt").read_bytes() + pair.with_suffix(".key").read_bytes())
        self.device.ca.write_bytes((self.home / "ca" / "ca.pem").read_bytes())

    def clock(self) -> float:
        return self.now

    def credentials(self) -> Credentials:
        return Credentials(self.device, "osaka", "press-1", self.clock)

    def renew(self, request: RenewalRequest) -> RenewalReply:
        return RenewalReply(renew(self.home, self.catalogue, "press-1", request, self.clock))

    def pair(self) -> tuple[Any, Any]:
        data = self.device.identity.read_bytes()
        return load_pem_private_key(data, None), x509.load_pem_x509_certificate(data)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.catalogue.close()


class Agent:
    """A renewer, and what it did."""

    def __init__(self, world: World, ask: Callable[[RenewalRequest], RenewalReply] | None = None) -> None:
        self.published: list[RenewalRequest] = []
        self.renewed: list[float] = []
        self.refused: list[str] = []
        self.ticks = 0.0
        self.world = world
        self.renewer = Renewer(
            world.credentials(),
            self.published.append,
            ask or world.renew,
            renewed=self.renewed.append,
            refused=self.refused.append,
            ticks=lambda: self.ticks,
        )

    def tick(self, *, connected: bool = True, turned_away: bool = False, after_s: float = 0.0) -> None:
        self.ticks += after_s
        self.renewer.tick(connected=connected, turned_away=turned_away)
        thread = self.renewer._asking
        if thread is not None:
            thread.join(10)


def test_it_asks_at_two_thirds_of_the_certificates_time_and_not_before(world: World) -> None:
    agent = Agent(world)
    world.now += 59 * DAY
    agent.tick()
    assert agent.published == []
    world.now += 2 * DAY
    agent.tick()
    agent.tick(after_s=59)
    assert len(agent.published) == 1
    agent.tick(after_s=2)
    assert len(agent.published) == 2
    assert agent.published[0].csr != ""
    assert agent.published[0].serial == agent.published[1].serial


def test_the_new_pair_has_a_fresh_key_and_is_in_use_at_once(world: World) -> None:
    old_key, old = world.pair()
    agent = Agent(world)
    world.now += 61 * DAY
    agent.tick()
    agent.renewer.answered(world.renew(agent.published[0]))
    key, certificate = world.pair()
    assert key.public_key() == certificate.public_key() != old_key.public_key()
    assert certificate.serial_number != old.serial_number
    assert agent.renewed == [pytest.approx(world.now + 90 * DAY, abs=1)]
    assert not world.device.next_key.exists()
    assert world.device.identity.stat().st_mode & 0o777 == 0o600
    agent.tick(after_s=1000)
    assert len(agent.published) == 1
    assert world.catalogue.devices.get("press-1").serial == f"{certificate.serial_number:x}"


def test_a_reply_that_got_lost_comes_again_and_is_the_same(world: World) -> None:
    agent = Agent(world)
    world.now += 61 * DAY
    agent.tick()
    first = world.renew(agent.published[0])
    agent.tick(after_s=61)
    assert world.renew(agent.published[1]) == first
    assert len(world.catalogue.certificates.of("osaka.press-1")) == 2


def test_an_agent_that_starts_anew_asks_with_the_key_that_waits(world: World) -> None:
    world.now += 61 * DAY
    first = world.renew(world.credentials().request())
    again = world.credentials()
    assert world.renew(again.request()) == first
    again.accept(first.certificate)


@pytest.mark.parametrize("name", ["fsync", "replace", "unlink"])
def test_at_every_power_cut_there_is_the_old_pair_or_the_new_one(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        pass

    world.now += 61 * DAY
    for cut in range(1, 10):
        calls = 0
        real = getattr(os, name)

        def step(*arguments: Any, cut: int = cut, real: Any = real, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == cut:
                raise PowerCut
            return real(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, step)
            try:
                credentials = world.credentials()
                reply = world.renew(credentials.request())
                patch.setattr(os, name, step)
                credentials.accept(reply.certificate)
            except PowerCut:
                survived = False
            else:
                survived = calls < cut
        key, certificate = world.pair()
        assert key.public_key() == certificate.public_key()
        after = world.credentials()
        after.accept(world.renew(after.request()).certificate)
        key, certificate = world.pair()
        assert key.public_key() == certificate.public_key()
        held = world.catalogue.certificates.of("osaka.press-1")
        with world.catalogue.transaction() as db:  # the registry's own limit is not what is tried here
            db.execute("DELETE FROM certificates WHERE serial != ?", (held[0].serial,))
        if survived:
            assert cut > 1
            return
    raise AssertionError(f"more than 9 calls of {name}")


def test_what_was_not_asked_for_is_refused_and_changes_nothing(world: World) -> None:
    credentials = world.credentials()
    before = world.device.identity.read_bytes()
    with pytest.raises(RenewalError, match="not asked for"):
        credentials.accept(before.decode())
    credentials.request()
    for pem, says in ((before.decode(), "another key"), ("nonsense", "cannot be read")):
        with pytest.raises(RenewalError, match=says):
            credentials.accept(pem)
    assert world.device.identity.read_bytes() == before


def test_who_was_away_for_ninety_days_finds_back_in_over_https(world: World) -> None:
    world.now += 58 * DAY  # just before it would have renewed
    world.now += 90 * DAY
    agent = Agent(world)
    agent.tick(connected=False)
    assert agent.published == []
    agent.tick(connected=False)
    assert len(agent.renewed) == 1
    assert not world.credentials().expired


def test_the_broker_knows_better_than_a_clock_that_stands_still(world: World) -> None:
    agent = Agent(world)
    agent.tick(connected=False, turned_away=True)
    agent.tick(connected=False)
    assert len(agent.renewed) == 1


def test_who_was_away_beyond_the_grace_is_told_how_to_come_back(world: World) -> None:
    world.now += (90 + 181) * DAY
    with pytest.raises(RenewalRefusedError, match=r"ended 1 days too long ago; enrol it anew: .*--replace"):
        world.renew(world.credentials().request())


def test_a_registry_that_does_not_answer_is_asked_less_and_less(world: World) -> None:
    asked: list[float] = []

    def ask(request: RenewalRequest) -> RenewalReply:
        asked.append(agent.ticks)
        raise RegistryCallError("the registry cannot be reached")

    agent = Agent(world, ask)
    world.now += 91 * DAY
    for _ in range(8 * 60):
        agent.tick(connected=False, after_s=30)
    waits = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert waits[:4] == [60, 120, 240, 480]
    assert max(waits) == 3600
    assert agent.refused == ["the registry cannot be reached"]


def test_only_the_present_key_and_a_welcome_device_get_a_certificate(world: World) -> None:
    good = world.credentials().request()
    changed = RenewalRequest(good.serial, good.csr, good.signature[:-1] + b"\x00")
    with pytest.raises(RenewalRefusedError, match="not signed by the key"):
        world.renew(changed)
    with pytest.raises(RenewalRefusedError, match="never made"):
        world.renew(RenewalRequest("ff", good.csr, good.signature))
    revoke(world.home, world.catalogue, "press-1", world.clock)
    with pytest.raises(RenewalRefusedError, match="locked out"):
        world.renew(good)


def test_a_device_that_asks_without_end_gets_eight_and_no_more(world: World) -> None:
    for _ in range(7):
        world.renew(world.credentials().request())
        world.device.next_key.unlink()
    with pytest.raises(RenewalRefusedError, match="has 8 good certificates"):
        world.renew(world.credentials().request())


def test_an_old_request_that_comes_again_brings_nothing_new(world: World) -> None:
    """Whoever heard it could otherwise use up the device's certificates."""
    old = world.credentials().request()
    first = world.renew(old)
    world.device.next_key.unlink()
    world.renew(world.credentials().request())
    assert {world.renew(old).certificate for _ in range(9)} == {first.certificate}


def test_a_certificate_that_ended_before_it_was_fetched_is_not_given(world: World) -> None:
    lost = world.renew(world.credentials().request())
    world.now += 91 * DAY
    assert world.renew(world.credentials().request()).certificate != lost.certificate


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_damaged_pair_says_what_to_do(world: World, content: bytes) -> None:
    world.device.identity.write_bytes(content)
    with pytest.raises(HomeError, match="must be enrolled again"):
        world.credentials()
