"""A sensor message is the broker's until it was answered: no crash loses one, and what comes twice is told apart."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from simulators.agent_process import Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases

from edge_agent.link import Link
from edge_agent.receipts import Receipt
from edge_agent.settings import AgentHome
from protocols.broker import BrokerAddress
from protocols.names import ReleaseRef
from protocols.payloads import message_id

ONE = ReleaseRef("ccpp", 1)


class Deaf:
    """A listener that wants nothing."""

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def message(self, topic: str, payload: bytes) -> None: ...


class Keeper:
    """A link that keeps what it hears, and can vanish as a process does that is killed."""

    def __init__(self, port: int, *topics: str) -> None:
        self.heard: list[tuple[str, bytes, Receipt]] = []
        address = BrokerAddress("127.0.0.1", port, False)
        self.link = Link(address, "osaka.press-1", ("will", b""), Deaf(), first_delay_s=30, keep=self._keep)
        self._topics = frozenset(topics)
        self.link.subscribe(self._topics)
        self.link.start()
        wait_until(lambda: self.link.connected)

    def _keep(self, topic: str, payload: bytes, receipt: Receipt) -> bool:
        if topic in self._topics:
            self.heard.append((topic, payload, receipt))
        return topic in self._topics

    def payloads(self) -> list[bytes]:
        return [payload for _, payload, _ in self.heard]

    def vanish(self) -> None:
        connection: Any = self.link._client.socket()
        connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self.link.connected)
        self.link.stop(0)


@pytest.fixture
def plant(broker: Broker) -> Iterator[mqtt.Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "plant")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def test_a_message_that_was_not_settled_comes_again_and_says_so(broker: Broker, plant: mqtt.Client) -> None:
    first = Keeper(broker.port, "in")
    for number in range(3):
        plant.publish("in", str(number), qos=1).wait_for_publish(5)
    wait_until(lambda: len(first.heard) == 3)
    assert not any(receipt.again for _, _, receipt in first.heard)
    first.link.settle([first.heard[0][2]])
    plant.publish("in", b"settled", qos=1).wait_for_publish(5)
    wait_until(lambda: len(first.heard) == 4)  # the broker has heard the settlement before
    first.vanish()
    second = Keeper(broker.port, "in")
    wait_until(lambda: second.payloads() == [b"1", b"2", b"settled"])
    assert all(receipt.again for _, _, receipt in second.heard)
    second.link.settle([receipt for _, _, receipt in [*first.heard, *second.heard]])
    plant.publish("in", b"new", qos=1).wait_for_publish(5)
    wait_until(lambda: second.payloads()[-1] == b"new")
    second.vanish()
    third = Keeper(broker.port, "in")
    wait_until(lambda: third.payloads() == [b"new"])
    third.vanish()


def test_a_topic_left_over_from_a_session_that_was_cut_off_is_unsubscribed(broker: Broker, plant: mqtt.Client) -> None:
    Keeper(broker.port, "old", "in").vanish()
    keeper = Keeper(broker.port, "in")

    def heard_of_old() -> int:
        """Publish on the old topic, and return whether that arrived."""
        before, known = keeper.link.traffic.heard, len(keeper.heard)
        plant.publish("old", b"x", qos=1).wait_for_publish(5)
        plant.publish("in", b"y", qos=1).wait_for_publish(5)
        wait_until(lambda: len(keeper.heard) == known + 1)
        return keeper.link.traffic.heard - before - 1

    assert heard_of_old() == 1
    wait_until(lambda: heard_of_old() == 0, what="the old topic unsubscribed")
    assert set(keeper.payloads()) == {b"y"}
    keeper.vanish()


@pytest.mark.slow
@pytest.mark.sample
def test_no_sensor_message_is_lost_when_the_agent_is_killed_in_the_middle_of_a_flow(
    home: AgentHome, line: Line, signed: SignedReleases, registry_side: RegistrySide, tmp_path: Path
) -> None:
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    agent = Agent(home)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    sent, stop = [0], threading.Event()

    def produce() -> None:
        while not stop.wait(0.001):
            for _ in range(5):
                line.send({"id": sent[0], "AT": 0, "V": 0})
                sent[0] += 1

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for _ in range(3):
            answered = len(line.predictions)
            wait_until(lambda answered=answered: len(line.predictions) > answered + 300, 20)
            agent.stop(signal.SIGKILL)
            agent.close()
            agent = Agent(home)
    finally:
        stop.set()
        producer.join()
    try:
        wait_until(lambda: len(line.predictions) == sent[0], 30, f"{sent[0]} answers")
        assert agent.stop() == 0
    finally:
        agent.close()
    for number, answers in line.predictions.items():
        assert {answer["id"] for answer in answers} == {
            message_id(json.dumps({"id": number, "AT": 0, "V": 0}).encode())
        }
        assert all(answer.get("again") for answer in answers[1:])
