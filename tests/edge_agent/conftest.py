"""A real broker, signed releases, and an agent's home as enrolment would have written it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators.agent_home import make_home
from simulators.agent_process import Agent, Line
from simulators.broker_process import Broker
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_disk import SmallDisk

from edge_agent.settings import AgentHome


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def signed(tmp_path: Path) -> SignedReleases:
    return SignedReleases(tmp_path / "registry")


@pytest.fixture
def registry_side(broker: Broker, signed: SignedReleases) -> Iterator[RegistrySide]:
    side = RegistrySide(broker.port, signed.read)
    yield side
    side.close()


@pytest.fixture
def home(tmp_path: Path, signed: SignedReleases, broker: Broker) -> AgentHome:
    return make_home(tmp_path / "agent", signed, broker.url)


@pytest.fixture
def line(broker: Broker) -> Iterator[Line]:
    line = Line(broker.port)
    yield line
    line.close()


@pytest.fixture
def agent(home: AgentHome) -> Iterator[Agent]:
    agent = Agent(home)
    yield agent
    agent.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        disk = SmallDisk(tmp_path / "disk")
    except (PermissionError, FileNotFoundError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    yield disk
    disk.close()
