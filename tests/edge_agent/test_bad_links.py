"""Whole downloads over bad links: the real registry service, a real broker, the agent's own link and downloads.

The proxy in between delays, cuts and damages; processes are killed in the middle. The release arrives as it was signed.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators.bad_link import BadLink, cutting, sometimes
from simulators.broker_process import Broker, wait_until
from simulators.release_link import REF, FetchingAgent, RegistryService, fetching_agent

SIZE = 6 * 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def registry(tmp_path: Path, broker: Broker) -> Iterator[RegistryService]:
    with RegistryService(tmp_path / "world", broker.url, SIZE) as service:
        yield service


@pytest.fixture
def link(broker: Broker) -> Iterator[BadLink]:
    link = BadLink(broker.port, delay_s=0.01, rate_bytes_s=3_000_000)
    yield link
    link.close()


def arrived(agent: FetchingAgent, registry: RegistryService) -> bool:
    """Whether the release is here; the verifier has compared it with what was signed."""
    assert not list((registry.agent_home / "partial").iterdir())
    return (agent.store.path(REF) / "model.onnx").stat().st_size == SIZE


@pytest.mark.slow
@pytest.mark.sample
def test_connections_that_are_cut_cost_little(registry: RegistryService, link: BadLink) -> None:
    chance = random.Random(1)
    with fetching_agent(registry.agent_home, link.port) as agent, cutting(link, lambda: chance.uniform(0.6, 1.2)):
        agent.install()
        assert arrived(agent, registry)
    assert link.cuts >= 1
    assert agent.received_bytes < 1.3 * SIZE


@pytest.mark.slow
def test_pieces_that_are_damaged_do_no_harm(registry: RegistryService, link: BadLink) -> None:
    def spoil(piece: bytes) -> bytes:
        if len(piece) < 8000:  # the small ones are the handshake's
            return piece
        return piece[:5000] + bytes([piece[5000] ^ 16]) + piece[5001:]

    link.mishap = sometimes(0.03, spoil, seed=2)
    with fetching_agent(registry.agent_home, link.port) as agent:
        agent.install()
        assert arrived(agent, registry)
    assert agent.client.counts["damaged"] >= 1


@pytest.mark.slow
@pytest.mark.sample
def test_a_broker_and_a_registry_that_are_killed_come_back_to_a_download_that_goes_on(
    registry: RegistryService, link: BadLink, broker: Broker
) -> None:
    with fetching_agent(registry.agent_home, link.port) as agent:
        agent.when_arrived = [(SIZE // 4, registry.restart), (SIZE // 2, broker.restart)]
        agent.install()
        assert agent.when_arrived == []
        assert arrived(agent, registry)
    assert agent.received_bytes < 1.5 * SIZE


def test_an_agent_that_is_killed_goes_on_with_what_it_had(registry: RegistryService, link: BadLink) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-m", "simulators.release_link", str(registry.agent_home), str(link.port)]
    child = subprocess.Popen(command, env=environment)
    partial = registry.agent_home / "partial"
    try:
        wait_until(lambda: list(partial.glob("*.blocks")), 20, "a checkpoint")
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    with fetching_agent(registry.agent_home, link.port) as agent:
        agent.install()
        assert arrived(agent, registry)
        assert agent.received_bytes < SIZE - 500_000
