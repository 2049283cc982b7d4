"""The measurer beside what serves: it waits for quiet, gives way to a backlog, lets jobs expire, and forgets none."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.errors import TransferError
from edge_agent.measured_memory import MeasuredMemory
from edge_agent.measurer import Measurer, MeasuringDone
from protocols.measuring import DeviceFigures, MeasuringOrder

FIGURES = DeviceFigures(device="press-1", profile="x86", outcome="measured")


class Device:
    """What the measurer works with, as a test sets it."""

    def __init__(self, folder: Path) -> None:
        self.jobs: list[MeasuringOrder] = []
        self.faults: list[Exception] = []
        self.backlog, self.busy, self.now = 0, False, 100.0
        self.begun, self.done = threading.Semaphore(0), queue.SimpleQueue[MeasuringDone]()
        self.hold = threading.Event()
        self.hold.set()
        self.ended_early = 0
        self.folder = folder / "measuring"
        self.memory = MeasuredMemory(folder / "measured.json")
        self.measurer = Measurer(
            self.folder,
            self.memory,
            self,
            self._examine,
            lambda reason: DeviceFigures(device="press-1", profile="x86", outcome="refused", reason=reason),
            self.done.put,
            busy=lambda: self.busy,
            backlog=lambda: self.backlog,
            now=lambda: self.now,
        )

    def add(self, number: int) -> None:
        self.jobs.append(MeasuringOrder(number=number, model="m", expires_at=200.0, seconds=5.0))
        self.measurer.heard(number)

    def orders(self) -> tuple[MeasuringOrder, ...]:
        if self.faults:
            raise self.faults.pop()
        return tuple(self.jobs)

    def fetch(self, order: MeasuringOrder, folder: Path) -> bool:
        (folder / "model.onnx").write_bytes(b"a graph")
        return True

    def _examine(self, folder: Path, seconds: float, cancelled: Callable[[], bool]) -> DeviceFigures:
        assert (folder / "model.onnx").exists()
        self.begun.release()
        while not self.hold.wait(0.01):
            if cancelled():
                self.ended_early += 1
                break
        return FIGURES


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    device.measurer.stop(5)


def gone(folder: Path) -> bool:
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not folder.exists()


def test_jobs_are_done_in_order_and_each_once(device: Device) -> None:
    device.jobs = [MeasuringOrder(number=3, model="m", expires_at=200.0, seconds=5.0)]
    device.add(5)
    assert [device.done.get(timeout=10).order.number for _ in range(2)] == [3, 5]
    device.measurer.reported(5)
    device.measurer.heard(5)
    with pytest.raises(queue.Empty):
        device.done.get(timeout=0.5)
    assert gone(device.folder)
    assert MeasuredMemory(device.folder.with_name("measured.json")).done == 5


def test_a_job_gives_way_to_a_backlog_and_is_measured_when_it_is_gone(device: Device) -> None:
    device.hold.clear()
    device.add(1)
    assert device.begun.acquire(timeout=10)
    device.backlog = 1000
    deadline = time.monotonic() + 10
    while not device.ended_early:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(queue.Empty):
        device.done.get(timeout=0.3)
    running = device.measurer.running
    assert running is not None
    assert (running.job, running.step) == (1, "waiting")
    device.backlog = 0
    device.hold.set()
    assert device.done.get(timeout=10).figures == FIGURES


def test_a_job_that_waits_too_long_for_quiet_is_left_to_expire(device: Device) -> None:
    device.busy = True
    device.add(1)
    with pytest.raises(queue.Empty):
        device.done.get(timeout=0.5)
    device.now = 201.0
    deadline = time.monotonic() + 5
    while device.measurer.running is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    device.busy = False
    with pytest.raises(queue.Empty):
        device.done.get(timeout=0.5)


def test_a_job_that_could_not_be_asked_for_is_asked_for_again_with_the_link(device: Device) -> None:
    device.faults = [TransferError("director", "no link")]
    device.add(1)
    deadline = time.monotonic() + 5
    while device.faults:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    device.measurer.wake()
    assert device.done.get(timeout=10).order.number == 1


def test_what_an_end_without_warning_left_is_deleted_at_the_start(device: Device) -> None:
    device.folder.mkdir()
    (device.folder / "model.onnx").write_bytes(b"half a gra")
    device.measurer.start()
    assert not device.folder.exists()


def test_a_job_that_the_agent_did_not_outlive_twice_is_not_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    assert [MeasuredMemory(path).begin(7) for _ in range(3)] == [True, True, False]
    assert MeasuredMemory(path).begin(8)
    path.write_bytes(b"{ no memory")
    assert MeasuredMemory(path).done == 0
