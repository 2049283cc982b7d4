"""A disk that is full, read-only or lies: what serves goes on serving, it is told, and it mends by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators.agent_home import make_home
from simulators.agent_process import Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_disk import SmallDisk
from simulators.small_models import regression

from edge_agent.memory import Memory
from edge_agent.settings import AgentHome
from edge_agent.status import read_status
from edge_agent.status_text import describe
from protocols.names import ReleaseRef

ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)


@pytest.fixture
def small_home(small_disk: SmallDisk, signed: SignedReleases, broker: Broker) -> AgentHome:
    return make_home(small_disk.folder / "agent", signed, broker.url)


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    """Agents that a test starts; all ended after it."""
    started: list[Agent] = []
    yield started
    for agent in started:
        agent.close()


def start(agents: list[Agent], home: AgentHome) -> Agent:
    agents.append(Agent(home))
    return agents[-1]


def confirmed(side: RegistrySide, count: int = 1) -> None:
    side.wait_for(lambda: side.kinds().count("release-confirmed") == count)


def answers(line: Line, key: str, version: int) -> None:
    """Wait until the line gets an answer by this version."""
    line.send({"id": key, "AT": 0, "V": 0})
    wait_until(lambda: key in line.predictions, what=f"the prediction for {key}")
    assert line.predictions[key][0]["version"] == version


def state_of(home: AgentHome, ref: ReleaseRef) -> str | None:
    page = read_status(home)
    return next((held.state for held in page.releases if (held.model, held.version) == (ref.model, ref.version)), None)


@pytest.mark.slow
@pytest.mark.sample
def test_a_full_disk_stops_no_stream_and_the_update_goes_on_when_there_is_room_again(
    small_disk: SmallDisk, small_home: AgentHome, agents: list[Agent], line: Line, signed: SignedReleases,
    registry_side: RegistrySide, tmp_path: Path,
) -> None:  # fmt: skip
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    assign(signed, registry_side, ONE)
    agent = start(agents, small_home)
    confirmed(registry_side)
    small_disk.fill()
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: any("No space left" in text or "is full" in text for text in registry_side.told()))
    answers(line, "full", 1)
    small_disk.clear()
    registry_side.wait_for(lambda: registry_side.kinds().count("release-confirmed") == 2, 40)
    answers(line, "room again", 2)
    failed = registry_side.kinds().count("disk-failed")
    assert failed <= 1
    registry_side.wait_for(lambda: registry_side.kinds().count("disk-works") == failed)
    assert agent.stop() == 0


@pytest.mark.slow
@pytest.mark.sample
def test_an_agent_that_starts_on_a_read_only_disk_serves_and_tells_it_once(
    small_disk: SmallDisk, small_home: AgentHome, agents: list[Agent], line: Line, signed: SignedReleases,
    registry_side: RegistrySide, tmp_path: Path,
) -> None:  # fmt: skip
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    assign(signed, registry_side, ONE)
    first = start(agents, small_home)
    confirmed(registry_side)
    assert first.stop() == 0
    first.close()
    small_disk.remount("ro")
    agent = start(agents, small_home)
    registry_side.wait_for(lambda: "disk-failed" in registry_side.kinds())
    answers(line, "read-only", 1)
    assign(signed, registry_side, TWO)
    registry_side.wait_for(lambda: any("cannot be asked" in text for text in registry_side.told()))
    small_disk.remount("rw")
    registry_side.wait_for(lambda: registry_side.kinds().count("release-confirmed") == 2, 40)
    answers(line, "writable", 2)
    registry_side.wait_for(lambda: "disk-works" in registry_side.kinds())
    assert registry_side.kinds().count("disk-failed") == registry_side.kinds().count("disk-works") == 1
    wait_until(lambda: not read_status(small_home).disk_fault)
    assert agent.stop() == 0


def test_a_release_damaged_on_disk_gives_way_to_the_one_before_it_and_is_fetched_again(
    home: AgentHome, agents: list[Agent], line: Line, broker: Broker, signed: SignedReleases,
    registry_side: RegistrySide, tmp_path: Path,
) -> None:  # fmt: skip
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    assign(signed, registry_side, ONE)
    first = start(agents, home)
    confirmed(registry_side)
    assign(signed, registry_side, TWO)
    confirmed(registry_side, 2)
    assert first.stop() == 0
    registry_side.close()
    model = home.releases / "ccpp" / "2" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    second = start(agents, home)
    answers(line, "damaged", 1)
    wait_until(lambda: state_of(home, TWO) == "assigned", what="the release waiting to be fetched again")
    page = read_status(home)
    told = describe(page, page.at)
    assert "model.onnx was changed" in told
    assert any("is damaged on this device" in entry["text"] for entry in second.log())
    back = RegistrySide(broker.port, signed.read)
    try:
        wait_until(lambda: state_of(home, TWO) == "confirmed", 40, "the release fetched again")
        answers(line, "mended", 2)
        assert second.stop() == 0
    finally:
        back.close()


def test_a_state_that_cannot_be_read_is_replaced_by_the_one_before_it(
    home: AgentHome,
    agents: list[Agent],
    line: Line,
    signed: SignedReleases,
    registry_side: RegistrySide,
    tmp_path: Path,
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    first = start(agents, home)
    confirmed(registry_side)
    assert first.stop() == 0
    registry_side.close()
    home.state.write_bytes(home.state.read_bytes()[:-20])
    second = start(agents, home)
    answers(line, "older state", 1)
    assert second.stop() == 0


def test_a_state_that_is_lost_whole_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"{")
    (tmp_path / "state.before.json").write_bytes(b"\x00" * 100)
    state, clean = Memory(tmp_path / "state.json").load()
    assert (state.active, clean) == ({}, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.before.damaged", "state.damaged"]
