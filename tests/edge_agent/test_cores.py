"""How models share a device's cores: the plan, and that no more threads are at work than there are cores."""

import threading
from pathlib import Path

import pytest
from simulators.broker_process import wait_until

import genba
from devices.cgroups import read_limits
from devices.probe import usable_cores
from edge_agent.cores import CoreGate, most_threads, share_cores


@pytest.mark.parametrize(
    ("cores", "models", "most", "threads"),
    [(4, 1, 2, 2), (4, 1, 8, 4), (4, 2, 4, 2), (4, 3, 4, 1), (4, 9, 4, 1), (1, 1, 4, 1), (4, 0, 2, 2)],
)
def test_models_share_the_cores(cores: int, models: int, most: int, threads: int) -> None:
    assert share_cores(cores, models, most) == threads
    assert threads * models <= cores or threads == 1


def test_no_more_threads_are_at_work_than_there_are_cores() -> None:
    gate, lock = CoreGate(3), threading.Lock()
    busy, most, done = [0], [0], []

    def work(threads: int) -> None:
        for _ in range(50):
            gate.enter(threads)
            with lock:
                busy[0] += min(threads or 3, 3)
                most[0] = max(most[0], busy[0])
            threading.Event().wait(0.0001)
            with lock:
                busy[0] -= min(threads or 3, 3)
            gate.leave(threads)
        done.append(threads)

    for threads in (1, 2, 2, 3, 0, 9):
        threading.Thread(target=work, args=[threads]).start()
    wait_until(lambda: len(done) == 6)
    assert most[0] == 3


def test_a_gate_says_whether_a_run_could_begin_at_once() -> None:
    gate = CoreGate(2)
    gate.enter(1)
    assert gate.has_room(1)
    assert not gate.has_room(2)
    assert not gate.has_room(0)
    gate.leave(1)
    assert gate.has_room(0)


def test_a_container_s_limit_counts_as_its_cores(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/agent\n")
    (tmp_path / "sys/fs/cgroup/agent").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/agent/cpu.max").write_text("100000 100000\n")
    assert usable_cores(read_limits(tmp_path)) == 1


@pytest.mark.parametrize("command", ["score", "devices tune"])
def test_more_threads_than_a_machine_can_use_are_refused_before_any_is_started(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = str(most_threads() + 1)
    operands = ["r", "in.csv", "--out", "out.csv"] if command == "score" else ["r"]
    with pytest.raises(SystemExit) as ended:
        genba.main([*command.split(), *operands, "--threads", asked])
    assert ended.value.code == 2
    assert f"1 to {most_threads()}" in capsys.readouterr().err


def test_a_wide_run_is_not_overtaken_by_narrow_ones_without_end() -> None:
    gate, came = CoreGate(4), []
    gate.enter(2)

    def come(name: str, threads: int) -> None:
        gate.enter(threads)
        came.append(name)

    wide = threading.Thread(target=come, args=["wide", 4])
    wide.start()
    wait_until(lambda: not gate.has_room(1), what="the wide run's place in the queue")
    narrow = threading.Thread(target=come, args=["narrow", 2])
    narrow.start()
    assert not gate.enter_at_once(1)
    gate.leave(2)
    wide.join(10)
    assert came == ["wide"]
    gate.leave(4)
    narrow.join(10)
    assert came == ["wide", "narrow"]
