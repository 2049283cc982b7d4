"""Bad bytes on every topic that the registry hears: counted by reason; nothing stops and nothing grows."""

from random import Random

import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulators.bad_wire import ODD, SEEDS, corpus, damaged, payloads
from simulators.raw_broker import RawBroker

from protocols.messages import UP, Event, encode
from protocols.topics import PREFIX, UP_CHANNELS
from registry.mqtt.blocks import BlockServer
from registry.mqtt.ingest import Asked, Ingest, Stored
from registry.mqtt.state import read_state

TOPICS = (
    *(f"{PREFIX}/osaka/press-7/up/{channel}" for channel in UP_CHANNELS),
    f"{PREFIX}/osaka/press-7/up/odd",
    f"{PREFIX}/osaka/press-99/up/status",
    f"{PREFIX}/kyoto/press-7/up/event",
    f"{PREFIX}/../press-7/up/event",
    f"{PREFIX}//../up/event",
    "genba/2/osaka/press-7/up/event",
    "plant/sensors",
    "/",
    f"{PREFIX}/osaka/'; DROP TABLE devices; --/up/event",
)


def check_every_one_is_taken_or_counted(ingest: Ingest, server: BlockServer, heard: list[tuple[str, bytes]]) -> None:
    for topic, payload in heard:
        before = ingest.refused.total()
        found = ingest.take(topic, payload)
        if isinstance(found, Asked):
            server.submit(found.site, found.device, found.request)
        elif not isinstance(found, Stored) and payload:
            assert ingest.refused.total() == before + 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(heard=st.lists(st.tuples(st.sampled_from(TOPICS), payloads()), max_size=6))
def test_every_message_is_taken_or_counted(catalogue, heard):
    ingest = Ingest(catalogue, lambda: 0.0)
    check_every_one_is_taken_or_counted(ingest, BlockServer(lambda *_: None, lambda *_: True), heard)
    assert set(ingest.refused) <= {
        "malformed", "newer-version", "impossible", "unknown-topic", "unknown-device", "site-mismatch"
    }  # fmt: skip


def test_the_corpus_is_taken_or_counted_on_every_topic(catalogue):
    ingest = Ingest(catalogue, lambda: 0.0)
    heard = [(topic, payload) for topic in TOPICS for payload in [*corpus(), *ODD, *SEEDS]]
    check_every_one_is_taken_or_counted(ingest, BlockServer(lambda *_: None, lambda *_: True), heard)
    assert min(ingest.refused[reason] for reason in ("malformed", "unknown-device", "unknown-topic")) > 0
    assert catalogue.devices.standing("press-7") is not None


def test_the_service_outlives_thousands_of_bad_messages(mosquitto, catalogue, service, device, connect, wait_until):
    started, press = service(mosquitto.url), device(mosquitto.port)
    neighbour, random, known = connect(mosquitto.port, "bad-neighbour"), Random(7), [*corpus(), *ODD, *SEEDS]
    wait_until(lambda: (state := read_state(catalogue.home)) and state.connected, "the service")

    def answered(number: int) -> bool:
        press.send("event", Event(number, 1.0, "hello", "info", "still there?"))
        wait_until(lambda: any(event.id == number for event in catalogue.events.list("press-7")), "the event", 60)
        return True

    def send(rounds: int) -> None:
        for _ in range(rounds):
            topic, payload = random.choice(TOPICS[: len(UP_CHANNELS) + 3]), random.choice(known)
            last = neighbour.publish(topic, payload if len(payload) > 10_000 else damaged(random, payload))
        last.wait_for_publish(30)

    process = psutil.Process(started.child.pid)
    send(500)
    assert answered(1_000_001)
    before = process.memory_info().rss
    send(2500)
    assert answered(1_000_002)
    assert process.memory_info().rss - before < 48 << 20
    reasons = {"malformed", "unknown-topic", "unknown-device", "site-mismatch"}
    state = wait_until(lambda: (s := read_state(catalogue.home)) and reasons <= s.refused.keys() and s, "the counts")
    refused = state.refused
    assert refused["malformed"] > 500
    assert "fault" not in refused
    assert "Traceback" not in started.log.read_text()
    assert started.stop() == 0
    assert set(UP) == set(UP_CHANNELS)


def test_a_topic_that_is_no_text_is_counted_and_acknowledged_and_ends_nothing(catalogue, service, wait_until):
    broker = RawBroker()
    try:
        started = service(broker.url)
        wait_until(lambda: broker.connections == 1, "the service")
        broker.publish(b"genba/1/osaka/press-\xff/up/event", b"1", number=7)
        broker.publish(b"\xc0\x80", b"2")
        broker.publish(b"genba/1/osaka/press-7/up/event", encode(Event(1, 1.0, "hello", "info", "still there?")), 8)
        wait_until(lambda: any(event.id == 1 for event in catalogue.events.list("press-7")), "the event")
        wait_until(lambda: broker.acknowledged == [7, 8], "the acknowledgements")
        wait_until(lambda: (s := read_state(catalogue.home)) and s.refused == {"unreadable-topic": 2}, "the count")
        assert "Traceback" not in started.log.read_text()
        assert started.stop() == 0
    finally:
        broker.close()
