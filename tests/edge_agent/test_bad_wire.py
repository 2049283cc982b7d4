"""Bad bytes on every topic that the agent hears: counted by name; nothing stops and nothing grows."""

import json
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from simulators.agent_process import STREAM, Agent, Line, assign, published
from simulators.bad_wire import ODD, SEEDS, corpus, damaged, payloads
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases

from edge_agent.errors import AgentError
from edge_agent.settings import AgentHome
from edge_agent.streams import StreamEngine
from edge_agent.switchboard import MOST_WAITING, Heard, Switchboard
from edge_agent.transfer import BlockClient, TransferLimits
from protocols.blocks import BlockPlan, block_digest, blocks_of
from protocols.errors import MessageRefusedError
from protocols.messages import DOWN, AssignmentChanged, Block, BlockRequest, decode, encode
from protocols.names import ReleaseRef
from protocols.topics import DOWN_CHANNELS, DeviceTopics

ONE = ReleaseRef("ccpp", 1)
TOPICS = DeviceTopics("osaka", "press-1")
RESOURCE = "image/targets/ccpp/1/model.onnx"
QUICK = TransferLimits(patience_s=0.005, longest_patience_s=0.005, tries=2)


class Ears:
    """A switchboard with the real parts behind it, and the daemon's inbox as a list."""

    def __init__(self, folder: Path) -> None:
        self.told: list[Any] = []
        self.engine = StreamEngine(lambda topic, payload: None, lambda ref, reason: None)
        self.asked: list[BlockRequest] = []
        self.blocks = BlockClient(self._ask, folder, QUICK)
        self.board = Switchboard(TOPICS, self.told.append, lambda: len(self.told), self.engine, self.blocks)

    def _ask(self, request: BlockRequest) -> bool:
        self.asked.append(request)
        return True


@pytest.fixture
def ears(tmp_path: Path) -> Ears:
    return Ears(tmp_path)


def readable(channel: str, payload: bytes) -> bool:
    try:
        decode(DOWN[channel], payload)  # type: ignore[type-var]
    except MessageRefusedError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(heard=st.lists(st.tuples(st.sampled_from([*DOWN_CHANNELS, "odd", "up"]), payloads()), max_size=8))
def test_every_message_is_passed_on_or_counted_by_its_channel(
    tmp_path_factory: pytest.TempPathFactory, heard: list[tuple[str, bytes]]
) -> None:
    ears = Ears(tmp_path_factory.getbasetemp())
    expected = dict.fromkeys([*DOWN_CHANNELS, "unknown-topic"], 0)
    passed = 0
    for channel, payload in heard:
        ears.board.message(f"{TOPICS.base}/down/{channel}", payload)
        if channel not in DOWN_CHANNELS:
            expected["unknown-topic"] += 1
        elif not readable(channel, payload):
            expected[channel] += 1
        elif channel != "blocks":
            passed += 1
    assert dict(ears.board.refused) == {reason: count for reason, count in expected.items() if count}
    assert len(ears.told) == passed


@pytest.mark.parametrize("channel", DOWN_CHANNELS)
def test_the_corpus_is_passed_on_or_counted_on_every_topic(ears: Ears, channel: str) -> None:
    known = [*corpus(), *ODD, *SEEDS]
    for payload in known:
        ears.board.message(f"{TOPICS.base}/down/{channel}", payload)
    assert ears.board.refused[channel] == sum(not readable(channel, payload) for payload in known) > 20


def test_a_topic_that_is_no_text_is_counted(ears: Ears) -> None:
    ears.board.unreadable(b"genba/1/osaka/press-1/down/\xff")
    assert ears.board.counts == {"unreadable-topic": 1}


def test_control_messages_beyond_what_the_daemon_can_take_are_dropped_and_counted(ears: Ears) -> None:
    for _ in range(MOST_WAITING + 50):
        ears.board.message(TOPICS.down("assignment"), encode(AssignmentChanged(7)))
    assert len(ears.told) == MOST_WAITING
    assert ears.board.refused == {"overrun": 50}
    assert ears.told[0] == Heard(AssignmentChanged(7))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(0, 4000), seed=st.integers(0, 2**32))
def test_blocks_cut_flipped_twice_and_out_of_order_never_make_a_wrong_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, size: int, seed: int
) -> None:
    random = Random(seed)
    content = random.randbytes(size)
    ears = Ears(tmp_path_factory.mktemp("partial"))

    def answer(request: BlockRequest) -> bool:
        plan = BlockPlan(len(content), request.block_bytes)
        sent = []
        for index in blocks_of(request.first, request.mask):
            if index < plan.count:
                offset, length = plan.span(index)
                part = content[offset : offset + length]
                good = encode(Block(request.transfer, index, size, part, block_digest(part)))
                sent += [good] * random.choice((0, 1, 1, 2))
                sent += [damaged(random, good)] * random.choice((0, 0, 1))
        random.shuffle(sent)
        for payload in sent:
            ears.board.message(TOPICS.down("blocks"), payload)
        return True

    ears.blocks._send = answer
    try:
        path = ears.blocks.fetch(RESOURCE, 10_000)
    except AgentError as error:
        assert RESOURCE in str(error)
    else:
        assert path.read_bytes() == content


def test_an_agent_outlives_thousands_of_bad_messages_on_all_its_topics(
    agent: Agent, line: Line, home: AgentHome, broker: Broker, signed: SignedReleases, registry_side: RegistrySide,
    tmp_path: Path,
) -> None:  # fmt: skip
    published(signed, tmp_path, ONE)
    assign(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-confirmed" in registry_side.kinds())
    random, known = Random(7), [*corpus(), *ODD, *SEEDS]
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "bad-neighbour")
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    expected = dict.fromkeys([*DOWN_CHANNELS, "unknown-topic"], 0)

    def send(rounds: int) -> None:
        for _ in range(rounds):
            channel = random.choice([*DOWN_CHANNELS, "odd", "sensors"])
            payload = random.choice(known)
            payload = payload if len(payload) > 10_000 else damaged(random, payload)
            last = client.publish(STREAM.topic if channel == "sensors" else f"{TOPICS.base}/down/{channel}", payload, 1)
            if channel == "odd":
                expected["unknown-topic"] += 1
            elif channel != "sensors" and not readable(channel, payload):
                expected[channel] += 1
        last.wait_for_publish(30)

    def still_serves(number: int) -> None:
        line.send({"id": number, "AT": 3, "V": 1})
        wait_until(lambda: number in line.predictions, 30, "a prediction after the bad messages")

    process = psutil.Process(agent.process.pid)
    send(500)
    still_serves(1)
    before = process.memory_info().rss
    send(2500)
    for payload in (max(known, key=len), b"{"):  # the page shows the last few kinds only
        client.publish(STREAM.topic, payload, 1).wait_for_publish(30)
    still_serves(2)
    counted = {reason: count for reason, count in expected.items() if count}
    page = wait_until(lambda: (page := _page(home))["refused"].items() >= counted.items() and page, 30, "every count")
    assert page["errors"] == 0
    assert all(row["rejected"] > 300 and row["faults"] for row in page["streams"])
    assert process.memory_info().rss - before < 48 << 20
    assert min(expected.values()) > 100
    assert page["refused"]["block-late"] > 0  # well-formed, and of a download that nobody asked for
    client.disconnect()
    client.loop_stop()
    assert agent.stop() == 0


def _page(home: AgentHome) -> dict[str, Any]:
    return json.loads(home.status.read_bytes())
