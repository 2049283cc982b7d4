"""The MQTT service from outside: a device's messages go in, acknowledgements, nudges and blocks come out."""

import signal
import time

import msgspec
import numpy as np

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.blocks import Bitmap, BlockPlan, block_digest, wanted_blocks
from protocols.messages import Ack, AssignmentChanged, Block, BlockRequest, Event, decode
from registry.catalogue import Catalogue
from registry.monitoring.policy import Policy
from registry.mqtt.state import read_state
from registry.signing.image import ImageRepository

NORMAL = np.random.default_rng(7).normal(10, 2, 4000).astype(np.float32)


def acked(device):
    return sorted(number for data in device.payloads(device.topics.down("ack")) for number in decode(Ack, data).ids)


def ready(home):
    state = read_state(home)
    return state is not None and state.connected


def lines_of(process):
    return [msgspec.json.decode(line) for line in process.log.read_bytes().splitlines()]


def assign(catalogue, names=("press-7",), version=1):
    for name in names:
        stream = StreamBinding("main", "ccpp", f"line/{name}", f"line/{name}/out")
        catalogue.assignments.set(Assignment(name, 0, (AssignedRelease("ccpp", version),), (stream,)))


def test_messages_are_stored_and_acknowledged_once_safe(broker, catalogue, service, device, window, wait_until):
    service(broker.url)
    wait_until(lambda: ready(catalogue.home), "the service")
    press = device(broker.port)
    press.online()
    press.send("event", Event(1, time.time(), "started", "info", "the agent has started"))
    press.send("telemetry", window(2, [1.0, 2.0], start=0, end=60))
    wait_until(lambda: acked(press) == [1, 2], "both acknowledgements")
    assert [event.kind for event in catalogue.events.list(device="press-7")] == ["started"]
    assert [found.telemetry.id for found in catalogue.telemetry.by_device("press-7")] == [2]
    wait_until(lambda: catalogue.devices.get("press-7").online, "the status")

    press.send("telemetry", window(2, [1.0, 2.0], start=0, end=60))
    wait_until(lambda: acked(press) == [1, 2, 2], "the duplicate to be acknowledged again")
    assert len(catalogue.telemetry.by_device("press-7")) == 1


def test_what_is_refused_is_counted_and_stops_nothing(mosquitto, catalogue, service, device, window, wait_until):
    running = service(mosquitto.url)
    wait_until(lambda: ready(catalogue.home), "the service")
    press, stranger, moved = (
        device(mosquitto.port),
        device(mosquitto.port, "ghost"),
        device(mosquitto.port, "press-8", "tokyo"),
    )
    for sender in (stranger, moved):
        sender.send("event", Event(1, 1.0, "k", "info", "t"))
    press.publish(press.topics.up("event"), b"\xff not a message")
    press.publish(press.topics.up("telemetry"), msgspec.msgpack.encode({"id": 7, "v": 1}))
    press.publish(press.topics.up("event"), msgspec.msgpack.encode({"id": 8, "v": 99}))
    press.send("telemetry", window(9, [1.0], start=float("nan"), end=1.0))
    press.send("event", Event(2**63, 1.0, "k", "info", "t"))
    press.publish(f"{press.topics.base}/up/status/more", b"")
    press.publish(press.topics.up("event"), bytes(3 * 1024 * 1024))
    press.send("event", Event(10, 1.0, "last", "info", "after all that"))
    # What can never be stored is acknowledged too, or the device would send it for ever; a newer version is not, nor is
    # a number that no outbox gives.
    wait_until(lambda: acked(press) == [7, 9, 10], "the acknowledgements")
    assert acked(stranger) == acked(moved) == []
    expected = {"unknown-device": 1, "site-mismatch": 1, "newer-version": 1, "malformed": 5, "unknown-topic": 1}
    wait_until(lambda: read_state(catalogue.home).refused == expected, "the counts")
    assert running.child.poll() is None
    assert len([line for line in lines_of(running) if line.get("reason") == "malformed"]) == 1
    assert catalogue.telemetry.by_device("press-7") == []


def test_a_changed_assignment_nudges_its_device(embedded, catalogue, service, device, release, wait_until):
    release(NORMAL)
    assign(catalogue)
    service(embedded.url)
    press, topic = device(embedded.port), "genba/1/osaka/press-7/down/assignment"

    def told():
        return [decode(AssignmentChanged, data).revision for data in press.payloads(topic)]

    wait_until(lambda: told()[-1:] == [1], "the first nudge")
    assign(catalogue, ("press-8", "press-7"))
    began = time.monotonic()
    wait_until(lambda: told()[-1:] == [3], "the second nudge")
    assert time.monotonic() - began < 2
    late = device(embedded.port)  # the same session taken over: the nudge is retained
    late.subscribe(topic)
    wait_until(lambda: late.payloads(topic), "the retained nudge")


def fetch(device, resource, wait_until, transfer=1, block_bytes=256):
    """Download a resource as an agent does, and return its bytes or the refusal."""
    topic = device.topics.down("blocks")

    def blocks():
        found = [decode(Block, data) for data in device.payloads(topic)]
        return [block for block in found if block.transfer == transfer]

    first, mask = wanted_blocks(iter(range(4)), 4)
    device.send("blocks", BlockRequest(transfer, resource, block_bytes, first, mask))
    head = wait_until(blocks, "the first block")[0]
    if head.status != 200:
        return head
    plan = BlockPlan(head.size_bytes, block_bytes)
    bitmap = Bitmap(plan.count)
    while True:
        for block in blocks():
            assert block.digest == block_digest(block.data)
            bitmap.add(block.index)
        if bitmap.complete:
            break
        first, mask = wanted_blocks(bitmap.missing(), 16)
        count = len(blocks())
        device.send("blocks", BlockRequest(transfer, resource, block_bytes, first, mask))
        wait_until(lambda: len(blocks()) > count, "more blocks")  # noqa: B023 - used at once
    pieces = {block.index: block.data for block in blocks()}
    return b"".join(pieces[index] for index in range(plan.count))


def test_blocks_are_served_and_what_is_missing_is_said(embedded, catalogue, service, device, wait_until):
    service(embedded.url)
    wait_until(lambda: ready(catalogue.home), "the service")
    press = device(embedded.port)
    root = ImageRepository(catalogue.home).root
    assert fetch(press, "image/metadata/1.root.json", wait_until) == root
    for transfer, resource in enumerate(["image/metadata/9.root.json", "../keys/x", "image/targets/a/1/b"], start=2):
        refusal = fetch(press, resource, wait_until, transfer)
        assert refusal.status == 404
        assert refusal.reason


def test_drift_over_two_devices_becomes_one_retraining(
    mosquitto, catalogue, service, device, release, window, wait_until
):
    release(NORMAL)
    assign(catalogue, ("press-7", "press-8"))
    catalogue.policies.set("ccpp", Policy(windows_in_a_row=2, min_labelled_rows=50))
    catalogue.rows.append("ccpp", [{"AT": 1.0, "PE": 2.0}] * 60, time.time())
    service(mosquitto.url)
    wait_until(lambda: ready(catalogue.home), "the service")
    presses = [device(mosquitto.port, name) for name in ("press-7", "press-8")]
    for press in presses:
        press.online()
    wait_until(lambda: all(one.online for one in catalogue.devices.list()), "both devices")
    random, now = np.random.default_rng(7), time.time()

    def send(number, shift):
        for press in presses:
            values = random.choice(NORMAL, 150) + shift
            press.send("telemetry", window(number, values, start=now + number, end=now + number + 1))
        wait_until(lambda: len(catalogue.drift.list("ccpp")) == number, f"report {number}")

    send(1, 0.0)
    report = catalogue.drift.list("ccpp")[0]
    assert (report.rows, report.devices, report.drifted) == (300, ("press-7", "press-8"), False)
    send(2, 8.0)
    assert catalogue.drift.list("ccpp")[0].drifted
    assert catalogue.jobs.list() == []
    send(3, 8.0)
    job = wait_until(catalogue.jobs.list, "the retraining")[0]
    assert (job.kind, job.model) == ("retrain", "ccpp")
    assert "AT drifted in 2 windows in a row" in job.reason
    assert job.parameters["labelled_rows"] == 60
    send(4, 8.0)
    send(5, 8.0)
    assert len(catalogue.jobs.list()) == 1
    # The retraining is over and the drift goes on, but no row has come that it did not know.
    catalogue.policies.set("ccpp", Policy(windows_in_a_row=2, min_labelled_rows=50, cooldown_s=0))
    catalogue.jobs.claim("worker")
    catalogue.jobs.finish(job.id, {"release": None})
    send(6, 8.0)
    send(7, 8.0)
    assert len(catalogue.jobs.list()) == 1
    catalogue.rows.append("ccpp", [{"AT": 1.0, "PE": 2.0}] * 50, time.time())
    send(8, 8.0)
    wait_until(lambda: len(catalogue.jobs.list()) == 2, "the second retraining")
    assert [event.kind for event in catalogue.events.list(model="ccpp")] == ["retrain", "retrain", "drift"]


def test_a_broker_that_comes_and_goes_is_one_line_each_time(mosquitto, catalogue, service, device, wait_until):
    mosquitto.process.stop()
    running = service(mosquitto.url)
    wait_until(lambda: read_state(catalogue.home), "the state file")
    wait_until(lambda: any("is away" in line["text"] for line in lines_of(running)), "the line")
    mosquitto.process.start()
    wait_until(lambda: ready(catalogue.home), "the service")
    press = device(mosquitto.port)
    press.send("event", Event(1, 1.0, "k", "info", "t"))
    wait_until(lambda: acked(press) == [1], "the acknowledgement")
    texts = [line["text"] for line in lines_of(running) if "broker" in line["text"]]
    assert len(texts) == 2
    assert f"127.0.0.1:{mosquitto.port} is away" in texts[0]


def test_what_came_while_the_service_was_killed_is_not_lost(mosquitto, catalogue, service, device, wait_until):
    running = service(mosquitto.url)
    wait_until(lambda: ready(catalogue.home), "the service")
    running.stop(signal.SIGKILL)
    press = device(mosquitto.port)
    for number in range(1, 51):
        press.send("event", Event(number, time.time(), "k", "info", "t"))
    running.start()
    wait_until(lambda: acked(press) == list(range(1, 51)), "50 acknowledgements")
    assert len(Catalogue.open(catalogue.home).events.list(device="press-7")) == 50


def test_what_is_too_old_is_forgotten_and_the_rest_is_kept(mosquitto, catalogue, service, window, wait_until):
    (catalogue.home / "registry.toml").write_text("keep_telemetry_days = 30\n")
    now = time.time()
    for number, age_days in enumerate((400, 31, 29, 0), start=1):
        at = now - age_days * 86_400
        catalogue.telemetry.add("press-7", "osaka", window(number, [1.0], start=at - 60, end=at))
        catalogue.events.add("press-7", Event(number, at, "note", "info", "a word"))
    service(mosquitto.url)
    wait_until(lambda: len(catalogue.telemetry.by_device("press-7")) == 2, "the old windows to go")
    wait_until(lambda: len(catalogue.events.list("press-7")) == 3, "the event of last year to go")
    assert [found.telemetry.id for found in catalogue.telemetry.by_device("press-7")] == [4, 3]


def test_it_stops_in_good_order(mosquitto, catalogue, service, wait_until):
    running = service(mosquitto.url)
    wait_until(lambda: ready(catalogue.home), "the service")
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 3
    assert not ready(catalogue.home)


def test_a_home_or_broker_that_cannot_be_is_one_line(catalogue, service, tmp_path, process, wait_until):
    for home, url, words in (
        (tmp_path / "none", "mqtt://127.0.0.1:1", "genba registry init"),
        (catalogue.home, "mqtt://10.0.0.1:1883", "unencrypted"),
    ):
        running = (
            service(url)
            if home == catalogue.home
            else process(
                "/bin/sh", "-c", f"{__import__('sys').executable} -m registry.mqtt --home {home} --broker {url}"
            )
        )
        assert running.child.wait(15) == 1
        assert words in running.log.read_text()
        assert running.log.read_text().count("\n") == 1
