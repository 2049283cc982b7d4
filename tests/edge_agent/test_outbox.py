"""The outbox: bounded, by priority, ids that rise and are never reused, nothing lost before its acknowledgement."""

import sqlite3
from pathlib import Path
from typing import Any

from simulators.small_disk import SmallDisk

from edge_agent.outbox import ALARM, EVENT, TELEMETRY, Outbox
from edge_agent.reporting import Reporter
from protocols.messages import Event, Status, decode
from protocols.topics import DeviceTopics


def make(path: Path, limit: int = 1000, first: int = 1) -> Outbox:
    return Outbox(path / "outbox.db", limit_bytes=limit, first_id=first)


def test_the_weightiest_goes_first_and_within_a_weight_the_oldest(tmp_path: Path) -> None:
    outbox = make(tmp_path)
    ids = [outbox.add("event", weight, lambda n: b"x") for weight in (TELEMETRY, EVENT, ALARM, EVENT)]
    assert [item.id for item in outbox.waiting(9)] == [ids[2], ids[1], ids[3], ids[0]]
    assert [item.id for item in outbox.waiting(2, beyond=[ids[2]])] == [ids[1], ids[3]]


def test_when_full_the_oldest_of_least_weight_is_dropped_and_counted(tmp_path: Path) -> None:
    outbox = make(tmp_path, limit=300)
    alarm = outbox.add("event", ALARM, lambda n: b"x" * 100)
    windows = [outbox.add("telemetry", TELEMETRY, lambda n: b"x" * 100) for _ in range(3)]
    assert [item.id for item in outbox.waiting(9)] == [alarm, windows[1], windows[2]]
    assert outbox.dropped == 1
    outbox.close()
    again = make(tmp_path, limit=300)
    assert (again.dropped, again.size) == (1, 3)
    assert again.add("telemetry", TELEMETRY, lambda n: b"x" * 400) is None  # larger than all there is room for


def test_space_comes_back_after_the_acknowledgement(tmp_path: Path) -> None:
    outbox = make(tmp_path, limit=300)
    for _ in range(50):
        number = outbox.add("event", EVENT, lambda n: b"x" * 200)
        assert number is not None
        outbox.delete([number, 12345])
    assert (outbox.size, outbox.dropped) == (0, 0)


def test_ids_rise_over_restarts_deletions_and_a_wiped_home(tmp_path: Path) -> None:
    outbox = make(tmp_path, first=1000)
    first = outbox.add("event", EVENT, lambda n: str(n).encode())
    assert first == 1000
    assert outbox.waiting(1)[0].payload == b"1000"
    outbox.delete([first])
    outbox.close()
    second = make(tmp_path, first=900)  # the clock went back
    assert second.add("event", EVENT, lambda n: b"") == 1001
    second.close()
    assert make(tmp_path, first=5000).add("event", EVENT, lambda n: b"") == 5000
    (tmp_path / "wiped").mkdir()
    assert make(tmp_path / "wiped", first=5000).add("event", EVENT, lambda n: b"") == 5000


def test_a_damaged_outbox_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"this was a database once" * 100)
    outbox = make(tmp_path)
    assert outbox.add("event", EVENT, lambda n: b"x") is not None
    assert path.with_name("outbox.db.damaged").exists()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_loses_nothing_that_fits_in_memory_and_ids_go_on(small_disk: SmallDisk) -> None:
    outbox = make(small_disk.folder, limit=10_000_000)
    before = outbox.add("event", EVENT, lambda n: b"before")
    small_disk.fill()
    made = [outbox.add("event", EVENT, lambda n: b"x" * 5000) for _ in range(50)]
    assert outbox.fault is not None
    assert None not in made
    assert [item.id for item in outbox.waiting(99)] == [before, *made]
    assert (outbox.size, outbox.dropped) == (51, 0)
    outbox.delete([before, made[0]])
    assert [item.id for item in outbox.waiting(99)] == made[1:]
    small_disk.clear()
    outbox.settle()
    assert outbox.fault is None
    outbox.close()
    assert [item.id for item in make(small_disk.folder, limit=10_000_000).waiting(99)] == made[1:]


def test_what_no_longer_fits_in_memory_while_the_disk_is_full_is_counted(small_disk: SmallDisk) -> None:
    outbox = make(small_disk.folder, limit=10_000_000)
    small_disk.fill()
    made = [outbox.add("telemetry", TELEMETRY, lambda n: b"x" * 100_000) for _ in range(30)]
    alarm = outbox.add("event", ALARM, lambda n: b"full")
    assert [item.id for item in outbox.waiting(1)] == [alarm]
    kept = outbox.size
    assert outbox.dropped == 31 - kept > 0
    small_disk.clear()
    assert outbox.add("event", EVENT, lambda n: b"y") == alarm + 1
    assert (outbox.size, outbox.dropped) == (kept + 1, 31 - kept)
    outbox.close()
    assert make(small_disk.folder).dropped == 31 - kept
    assert made


def test_an_outbox_on_a_read_only_disk_waits_in_memory_until_it_is_writable(small_disk: SmallDisk) -> None:
    outbox = make(small_disk.folder)
    first = outbox.add("event", EVENT, lambda n: b"1")
    outbox.close()
    small_disk.remount("ro")
    outbox = make(small_disk.folder, first=100)
    second = outbox.add("event", EVENT, lambda n: b"2")
    assert outbox.fault is not None
    assert [item.id for item in outbox.waiting(9)] == [second]
    small_disk.remount("rw")
    outbox.settle()
    assert [item.id for item in outbox.waiting(9)] == [first, second]
    outbox.close()


class FakeLink:
    """Collects what is published."""

    def __init__(self) -> None:
        self.connected = True
        self.published: list[tuple[str, bytes, bool]] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.published.append((topic, payload, retain))


def reporter(tmp_path: Path) -> tuple[Reporter, FakeLink, Outbox, list[float]]:
    link, outbox, now = FakeLink(), make(tmp_path, limit=100_000), [0.0]
    topics = DeviceTopics("osaka", "press-1")
    return Reporter(outbox, link, topics, clock=lambda: 1.0, ticks=lambda: now[0]), link, outbox, now


def test_what_was_not_acknowledged_is_sent_again_after_a_reconnect_and_after_a_while(tmp_path: Path) -> None:
    report, link, outbox, now = reporter(tmp_path)
    report.event("started", "info", "hello")
    report.pump()
    assert len(link.published) == 1
    report.link_lost()
    report.pump()
    assert len(link.published) == 2
    now[0] += 31
    report.pump()
    assert len(link.published) == 3
    event = decode(Event, link.published[0][1])
    report.acknowledged([event.id])
    now[0] += 31
    report.pump()
    assert (len(link.published), outbox.size) == (3, 0)


def test_nothing_is_sent_while_the_link_is_down_and_all_of_it_after(tmp_path: Path) -> None:
    report, link, outbox, _ = reporter(tmp_path)
    link.connected = False
    for number in range(200):
        report.event("note", "info", str(number))
    assert link.published == []
    link.connected = True
    report.pump()
    while outbox.size:
        report.acknowledged([decode(Event, payload).id for _, payload, _ in link.published])
    texts = [decode(Event, payload).text for _, payload, _ in link.published]
    assert texts == [str(number) for number in range(200)]


def test_a_status_is_retained_and_sent_when_it_says_anything_new(tmp_path: Path) -> None:
    report, link, _, _ = reporter(tmp_path)
    status: Any = Status(1.0, True)
    report.status(status)
    report.status(status)
    assert [(topic, retain) for topic, _, retain in link.published] == [("genba/1/osaka/press-1/up/status", True)]
    report.link_lost()
    report.status(status)
    assert len(link.published) == 2
