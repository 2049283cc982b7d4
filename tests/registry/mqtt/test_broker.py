"""What Genba asks of a broker, on mosquitto and on the embedded one alike."""

import subprocess
import sys

from protocols.messages import AssignmentChanged, encode


def test_a_persistent_session_gets_what_came_while_it_was_away(broker, connect, wait_until):
    first = connect(broker.port, "press-7", clean=False)
    first.subscribe("line/#")
    first.close()
    sender = connect(broker.port, "line")
    for number in range(300):
        info = sender.publish("line/a", str(number).encode())
    info.wait_for_publish(10)
    again = connect(broker.port, "press-7", clean=False)
    wait_until(lambda: len(again.messages) >= 300, "300 messages")
    assert [int(payload) for payload in again.payloads("line/a")] == list(range(300))
    assert not any(message.retain for message in again.messages)


def test_what_was_not_acknowledged_comes_again(broker, connect, wait_until):
    first = connect(broker.port, "press-7", clean=False)
    first.client.manual_ack_set(True)
    first.subscribe("line/#")
    connect(broker.port, "line").publish("line/a", b"1").wait_for_publish(10)
    wait_until(lambda: first.messages, "the message")
    first.vanish()
    again = connect(broker.port, "press-7", clean=False)
    wait_until(lambda: again.payloads("line/a") == [b"1"], "the message to come again")


def test_a_publisher_that_leaves_at_once_loses_nothing(broker, connect, wait_until):
    listener = connect(broker.port, "listener")
    listener.subscribe("line/#")
    sender = connect(broker.port, "line")
    infos = [sender.publish("line/a", b"%d" % number) for number in range(500)]
    infos[-1].wait_for_publish(10)
    sender.close()
    wait_until(lambda: len(listener.messages) == 500, "500 messages")


def test_retained_messages_come_on_subscription_and_to_subscribers_alone(broker, connect, wait_until):
    connect(broker.port, "registry").publish("genba/down", encode(AssignmentChanged(3)), retain=True).wait_for_publish(
        5
    )
    other = connect(broker.port, "other")
    other.subscribe("line/#")
    reader = connect(broker.port, "reader")
    reader.subscribe("genba/#")
    wait_until(lambda: reader.messages, "the retained message")
    assert reader.messages[0].retain
    third = connect(broker.port, "third")
    third.subscribe("line/#")
    assert other.messages == []
    assert third.messages == []


def test_the_last_will_of_a_device_that_vanishes_is_sent_and_retained(broker, connect, wait_until):
    listener = connect(broker.port, "listener")
    listener.subscribe("up/#")
    connect(broker.port, "press-7", clean=False, will=("up/status", b"gone")).vanish()
    wait_until(lambda: listener.payloads("up/status") == [b"gone"], "the will")
    late = connect(broker.port, "late")
    late.subscribe("up/#")
    wait_until(lambda: late.payloads("up/status") == [b"gone"], "the retained will")


def test_a_client_that_takes_over_its_session_is_served(broker, connect, wait_until):
    first = connect(broker.port, "press-7", clean=False)
    first.subscribe("line/#")
    first.client.loop_stop()  # its link is up, and nobody is there
    second = connect(broker.port, "press-7", clean=False)
    sender = connect(broker.port, "line")
    sender.publish("line/a", b"1")
    wait_until(lambda: second.payloads("line/a") == [b"1"], "the message")


def test_a_port_in_use_is_one_clear_line(broker):
    run = subprocess.run(
        [sys.executable, "-m", "registry.broker", "--port", str(broker.port)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert f"port {broker.port} on 127.0.0.1 is in use" in run.stderr


def test_it_stops_at_once_with_clients_connected(broker, connect):
    connect(broker.port, "press-7", clean=False).subscribe("line/#")
    assert broker.process.stop() == 0
