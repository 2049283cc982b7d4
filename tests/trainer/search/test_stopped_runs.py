"""Runs of the real command that are killed or interrupted, and what the next one makes of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.errors import OutputRefusedError
from trainer.report import decode_report
from trainer.request import TrainRequest
from trainer.search.run_folder import RunFolder, kept_pace
from trainer.train import train

#: Seconds that nobody waits for.
BUDGET_S = 600.0


class Run:
    """`genba train` in a process group of its own, as a terminal starts it."""

    def __init__(self, root: Path, data: Path, out: Path, *more: str) -> None:
        self.trials = out.with_name(f"{out.name}.search") / "trials"
        command = [sys.executable, str(root / "genba.py"), "train", str(data), "--target", "yield", "--model", "plant"]
        command += ["--drop", "fault", "--out", str(out), "--budget", f"{BUDGET_S:g}s", "--jobs", "1", *more]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
            start_new_session=True,
        )

    def wait_for_trials(self, many: int) -> int:
        """Return how many trials are finished, as soon as there are so many."""
        end = time.monotonic() + 90
        while (found := len(list(self.trials.glob("[0-9]*.npz")))) < many:
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end, "no trial was finished"
            time.sleep(0.05)
        return found

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Return the exit status and what was said on stderr."""
        said = self.process.communicate(timeout=90)[1]
        return self.process.returncode, said


@pytest.fixture
def data(plant: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "plant.csv"
    plant.to_csv(path, index=False)
    return path


@pytest.fixture
def start(root: Path, data: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    begun: list[Run] = []

    def make(*more: str) -> Run:
        begun.append(Run(root, data, tmp_path / "out", *more))
        return begun[-1]

    yield make
    for run in begun:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.communicate()


def request(data: Path, **wishes: object) -> TrainRequest:
    """What the command asks for."""
    asked = {"budget_s": BUDGET_S, "drop": ("fault",), "workers": 1, **wishes}
    return TrainRequest(data, "yield", "plant", **asked)  # type: ignore[arg-type]


def finished(data: Path, out: Path, **wishes: object) -> tuple[Manifest, int]:
    """Go on with the same request and end at once: what is released then was found before."""
    manifest = train(request(data, **wishes), out, interrupted=lambda: True)
    assert manifest.parity.passed
    assert sorted(entry.name for entry in out.parent.iterdir()) == ["out", "plant.csv"]
    return manifest, len(decode_report((out / "report.json").read_bytes()).trials)


def test_a_killed_run_goes_on_with_every_finished_trial(start: Callable[..., Run], data: Path, tmp_path: Path) -> None:
    run = start()
    run.wait_for_trials(3)
    os.killpg(run.process.pid, signal.SIGKILL)
    assert run.end()[0] == -signal.SIGKILL
    many = len(list(run.trials.glob("[0-9]*.npz")))
    left = run.trials.parent
    assert 0 < float((left / "spent_s").read_text()) < BUDGET_S
    assert not (tmp_path / "out").exists()
    manifest, trials = finished(data, tmp_path / "out")
    assert trials == manifest.lineage.trials == many
    rails = {rail.check: rail for rail in decode_report((tmp_path / "out" / "report.json").read_bytes()).guardrails}
    resumed = rails["resumed"]
    assert (resumed.state, resumed.done, resumed.override) == ("done", "went on from them", "--anew")
    assert resumed.seen == (f"{many} trials of this request were there from an earlier run",)


def left_behind(data: Path, out: Path, pace: float = 1.0) -> Path:
    """What a run leaves that was stopped after 500 seconds."""
    folder = RunFolder(out, request(data), "of the data", pace).__enter__()
    folder.spend(500.0)
    folder.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    return folder.path


def test_the_same_request_goes_on_and_divides_the_rows_as_before(data: Path, tmp_path: Path) -> None:
    left_behind(data, tmp_path / "out", 3.25)
    assert kept_pace(tmp_path / "out", request(data)) == 3.25
    assert kept_pace(tmp_path / "other", request(data)) is None
    with RunFolder(tmp_path / "out", request(data), "of the data", 3.25) as same:
        assert same.spent_s == 500.0


@pytest.mark.parametrize("wish", [{"seed": 1}, {"anew": True}, {"metric": "mae"}])
def test_another_request_begins_anew(data: Path, tmp_path: Path, wish: dict[str, object]) -> None:
    left = left_behind(data, tmp_path / "out")
    other = request(data, **wish)
    assert kept_pace(tmp_path / "out", other) is None
    with RunFolder(tmp_path / "out", other, "of the data", 1.0, anew=other.anew) as fresh:
        assert fresh.spent_s == 0.0
    assert not left.exists()


def test_trials_stay_where_what_was_stopped_failed_for_that(data: Path, tmp_path: Path) -> None:
    def stopped_in_the_middle() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            (tmp_path / "no such file").unlink()

    folder = RunFolder(tmp_path / "out", request(data), "of the data", 1.0)
    with pytest.raises(FileNotFoundError), folder:
        stopped_in_the_middle()
    assert (folder.path / "request").exists()


def test_other_data_begin_anew(data: Path, tmp_path: Path) -> None:
    left_behind(data, tmp_path / "out")
    with RunFolder(tmp_path / "out", request(data), "of other data", 1.0) as fresh:
        assert fresh.spent_s == 0.0


def test_a_folder_has_one_run_at_a_time(data: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", request(data), "of the data", 1.0) as first:
        with (
            pytest.raises(OutputRefusedError, match="in use by another run for the same --out"),
            RunFolder(tmp_path / "out", request(data), "of the data", 1.0),
        ):
            pass
        assert first.table.is_dir()


@pytest.mark.parametrize("more", [(), ("--trials", "40")], ids=["by the clock", "by number"])
def test_ctrl_c_keeps_the_best(start: Callable[..., Run], tmp_path: Path, more: tuple[str, ...]) -> None:
    run = start(*more)
    run.wait_for_trials(1)
    run.interrupt()
    status, said = run.end()
    assert status == 0, said
    assert "the search ends; finishing the best so far" in said
    assert read_candidate(tmp_path / "out").parity.passed
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "plant.csv"]


def test_ctrl_c_twice_ends_at_once_and_the_trials_stay(start: Callable[..., Run], data: Path, tmp_path: Path) -> None:
    run = start()
    run.wait_for_trials(1)
    run.interrupt()
    while "Ctrl-C again" not in run.process.stderr.readline():  # the first one has arrived
        assert run.process.poll() is None
    run.interrupt()
    status, said = run.end()
    assert status == 130, said
    assert f"the trials are kept in {tmp_path / 'out.search'}" in said
    many = len(list(run.trials.glob("[0-9]*.npz")))
    assert many >= 1
    assert finished(data, tmp_path / "out")[1] == many


def test_an_end_that_is_wanted_before_the_first_trial_gives_a_model(data: Path, tmp_path: Path) -> None:
    assert finished(data, tmp_path / "out")[1] >= 1


def test_five_seconds_give_a_proven_model(data: Path, tmp_path: Path) -> None:
    manifest = train(TrainRequest(data, "fault", "plant", budget_s=5.0, drop=("yield",)), tmp_path / "out")
    assert read_candidate(tmp_path / "out").digest == manifest.digest
    assert manifest.parity.passed
    assert not (tmp_path / "out.search").exists()
