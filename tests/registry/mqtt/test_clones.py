"""One identity on two machines: seen by the agents that take turns, and counted once."""

import msgspec
import pytest

from protocols.messages import Status, encode
from protocols.topics import DeviceTopics
from registry.mqtt.ingest import Ingest

TOPICS = DeviceTopics("osaka", "press-7")
NOW = 1_800_000_000.0


@pytest.fixture
def ingest(catalogue):
    return Ingest(catalogue, lambda: NOW)


@pytest.fixture
def say(ingest):
    def send(instance: str, at: float, *, online: bool = True) -> None:
        ingest.take(TOPICS.up("status"), encode(Status(at, online, instance=instance)))

    return send


def reported(catalogue):
    return [event.kind for event in catalogue.events.list(device="press-7")].count("identity-cloned")


def test_agents_that_take_turns_are_two(catalogue, say):
    say("a", 1)
    say("b", 2)
    assert catalogue.devices.get("press-7").cloned_at is None
    say("a", 3)
    assert catalogue.devices.get("press-7").cloned_at is not None
    say("b", 4)
    assert reported(catalogue) == 1


def test_restarts_last_wills_and_messages_that_come_twice_are_no_clones(catalogue, say):
    for number in range(20):
        say(f"agent-{number}", number)
        say(f"agent-{number}", number, online=False)
    say("agent-18", 18)  # the broker brings it once more
    say("agent-18", 18.5, online=False)  # the broker gives the last will of a connection that was taken over
    say("", 99)  # an agent that says nothing of itself
    say("agent-19", 100)
    assert catalogue.devices.get("press-7").cloned_at is None
    assert reported(catalogue) == 0


def test_the_same_time_is_counted_once_however_many_agents_tell_of_it(catalogue, ingest, say, window):
    def send(number: int, instance: str, start: float, end: float) -> None:
        told = msgspec.structs.replace(window(number, [1.0], start=start, end=end), instance=instance)
        found = ingest.take(TOPICS.up("telemetry"), encode(told))
        assert found.ids == (number,)  # acknowledged in every case, or it would come again for ever

    say("a", 1)
    send(1, "a", 0, 60)
    say("b", 61)
    say("a", 62)
    send(2, "b", 30, 90)
    send(3, "a", 60, 120)
    send(3, "a", 60, 120)
    send(4, "b", 90, 150)
    send(5, "b", 150, 210)
    assert [(one.telemetry.id, one.telemetry.instance) for one in catalogue.telemetry.by_device("press-7")] == [
        (5, "b"),
        (3, "a"),
        (1, "a"),
    ]
    assert ingest.refused["cloned"] == 2


def test_a_clock_that_goes_back_over_a_restart_loses_nothing(catalogue, ingest, say, window):
    for number, instance, start in ((1, "a", 0), (2, "b", 10)):
        say(instance, number)
        told = msgspec.structs.replace(window(number, [1.0], start=start, end=start + 60), instance=instance)
        ingest.take(TOPICS.up("telemetry"), encode(told))
    assert catalogue.telemetry.totals().windows == 2
