"""An engine is built in a child, proven, and kept for its key; what fails leaves nothing behind and names the cause."""

import functools
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from simulators import compiling_child
from simulators.small_models import CPU, write_release

from edge_agent.building import Builder, Task
from edge_agent.engines import EngineStore, engine_parts
from edge_agent.errors import ReleaseRefusedError
from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.session_plan import SessionPlan
from protocols.manifest import Manifest

TENSORRT = "TensorrtExecutionProvider"
PLAN = SessionPlan(providers=((TENSORRT, {"trt_max_workspace_size": "1000000"}), CPU))
DEVICE = {"arch": "aarch64", "accelerators": ("/dev/nvidia0: NVIDIA Orin",)}


class Board:
    """A device whose provider compiles, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = write_release(folder / "release")
        self.store = EngineStore(folder / "engines")
        self.behave("reuses")

    def behave(self, how: str) -> None:
        (self.folder / "how").write_text(how)

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().split() if (self.folder / "log").exists() else []

    def task(self, driver: str = "NVRM 580.1", manifest: Manifest | None = None) -> Task:
        manifest = manifest or self.manifest
        parts = engine_parts(manifest, PLAN, "1.24.1", {"nvidia": driver}, DEVICE)
        assert parts is not None
        return Task(self.folder / "release", manifest, PLAN, parts)

    def builder(self, build_s: float = 30.0, ticks: Callable[[], float] = time.monotonic) -> Builder:
        command = [sys.executable, compiling_child.__file__, str(self.folder)]
        return Builder(self.store, functools.partial(prove, command=command), lambda: Limits(build_s, 0), ticks)

    def prove(self, task: Task | None = None, **given: Any) -> PreflightReport:
        return self.builder(**given).prove(task or self.task(), Limits(30, 0), lambda: False)

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "engines").iterdir())


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_an_engine_is_built_once_and_taken_as_it_is_from_then_on(board: Board) -> None:
    task = board.task()
    first = board.prove(task)
    assert (first.passed, first.engine, first.build_s, first.reused) == (True, task.key, 12.5, True)
    again = board.prove(task)
    assert (again.passed, again.engine, again.build_s, again.reused) == (True, task.key, None, True)
    assert board.log == ["build", "load", "load"]
    engine = board.store.find(task.key)
    assert engine is not None
    assert engine.cache is not None
    assert (engine.cache / "deep" / "graph.engine").read_bytes() == compiling_child.ENGINE
    assert board.kept() == [task.key]


def test_a_driver_that_changed_has_another_engine_built_and_the_old_one_deleted(board: Board) -> None:
    old, new = board.task("NVRM 580.1"), board.task("NVRM 590.2")
    board.prove(old)
    assert board.store.find(new.key) is None
    assert board.prove(new).build_s == 12.5
    assert board.kept() == [new.key]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "deep" / "graph.engine").write_bytes(b"half"),
        lambda folder: (folder / "deep" / "graph.engine").unlink(),
        lambda folder: (folder / "engine.json").write_bytes(b"{"),
        lambda folder: (folder / "engine.json").unlink(),
    ],
    ids=["changed", "gone", "seal-cut", "seal-gone"],
)
def test_a_damaged_engine_is_built_anew(board: Board, damage: Callable[[Path], object]) -> None:
    task = board.task()
    board.prove(task)
    damage(board.folder / "engines" / task.key)
    assert board.store.find(task.key) is None
    assert board.prove(task).build_s == 12.5
    assert board.store.find(task.key) is not None


def test_a_provider_that_compiles_again_at_each_load_is_told_as_that_and_its_files_are_not_kept(board: Board) -> None:
    board.behave("compiles-again")
    task = board.task()
    report = board.prove(task)
    assert (report.passed, report.reused) == (True, False)
    engine = board.store.find(task.key)
    assert engine is not None
    assert engine.cache is None
    assert [path.name for path in engine.folder.iterdir()] == ["engine.json"]
    assert board.prove(task).passed
    assert board.log == ["build", "load", "plain"], "it is known that building once more would not help"


def test_a_provider_that_takes_long_to_compile_at_each_load_is_refused(board: Board) -> None:
    board.behave("compiles-again-for-long")
    report = board.prove()
    assert (report.passed, report.check, report.figure, report.limit) == (False, "load", 90.0, 30.0)
    assert "its provider compiles at each load again, which takes 90 s here, and 30 s are allowed" in str(report.reason)
    assert board.kept() == []


def test_an_engine_that_its_own_provider_cannot_read_is_done_without(board: Board) -> None:
    board.behave("cannot-read")
    report = board.prove()
    assert (report.passed, report.reused) == (True, False)
    assert board.log == ["build", "load", "plain"]


def test_a_compiler_that_crashes_is_a_report_and_leaves_nothing(board: Board) -> None:
    board.behave("crashes")
    report = board.prove()
    assert (report.passed, report.check) == (False, "build")
    assert report.reason == (
        "no engine: the model killed its process (SIGSEGV: it reached for memory that is not its own) "
        "while its engine was compiled"
    )
    assert board.kept() == []


def test_a_build_that_takes_too_long_is_ended_and_says_how_to_give_it_longer(board: Board) -> None:
    board.behave("hangs")
    report = board.prove(build_s=0.4)
    assert (report.passed, report.check, report.limit) == (False, "time", 0.4)
    assert report.reason == "no engine within 0.4 s; give it longer with build_s in agent.toml"
    assert board.kept() == []


def test_a_build_says_how_far_it_is_by_how_long_the_last_one_took(board: Board) -> None:
    board.prove()
    board.behave("hangs")
    now = [100.0]
    builder = board.builder(ticks=lambda: now[0])
    manifest = msgspec.structs.replace(board.manifest, version=2)
    over = threading.Event()
    task = board.task("NVRM 590.2", manifest)
    thread = threading.Thread(target=builder.prove, args=(task, Limits(30, 0), over.is_set))
    assert builder.building() == {}
    thread.start()
    try:
        while board.log.count("build") < 2:
            time.sleep(0.01)
        (building,) = builder.building().values()
        assert (building.seconds, building.limit_s, building.share) == (0.0, 30.0, 0.0)
        now[0] += 5.0
        assert builder.building()[manifest.release].share == 0.4  # of 12.5 s
        now[0] += 95.0
        building = builder.building()[manifest.release]
        assert (building.seconds, building.share) == (100.0, 0.99)
    finally:
        over.set()
        thread.join(10)
    assert builder.building() == {}
    assert board.kept() == [board.task().key], "what was not finished is gone, and the old engine is still there"


def test_a_build_that_is_not_wanted_any_more_ends_at_once(board: Board) -> None:
    board.behave("hangs")
    report = board.builder().prove(board.task(), Limits(30, 0), lambda: bool(board.log))
    assert not report.passed
    assert "not wanted any more" in str(report.reason)


def test_a_disk_that_takes_no_engine_is_one_line(board: Board) -> None:
    (board.folder / "file").write_text("no folder")
    board.store = EngineStore(board.folder / "file" / "engines")
    with pytest.raises(ReleaseRefusedError, match="its engine cannot be kept: Not a directory; free some space"):
        board.prove()


def test_what_a_power_cut_left_of_an_engine_goes_with_the_next_build(board: Board) -> None:
    left = board.store.stage("0123456789abcdef")
    (left / "half.engine").write_bytes(b"half")
    task = board.task()
    assert board.prove(task).passed
    assert board.kept() == [task.key]


def test_engines_of_releases_that_are_gone_are_deleted(board: Board) -> None:
    board.prove()
    assert board.store.keep_only({board.manifest.digest}) == 0
    assert board.store.keep_only({"another"}) == 1
    assert board.kept() == []
