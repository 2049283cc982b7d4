"""Runs of `genba score` that end before their time: killed, interrupted, out of room; none loses or repeats a row."""

import contextlib
import gzip
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from simulators.small_models import slow_regression, write_release

from edge_agent.errors import ScoreError
from edge_agent.scoring import Options, score_file
from edge_agent.scoring.checkpoint import PartFiles
from edge_agent.scoring.faults import BadRow, FaultFile
from edge_agent.scoring.formats import form_of, open_sink

ROWS = 12_000
#: Scores with a place to go on from after every batch; slowly enough to be killed before its end, where that is wanted.
CHILD = """
import sys, time
from pathlib import Path
from edge_agent.scoring import Options, score_file
from edge_agent.scoring.checkpoint import PartFiles
release, source, out = map(Path, sys.argv[1:4])
pause_s = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
write = PartFiles.write
PartFiles.write = lambda *given: (write(*given), time.sleep(pause_s))
options = Options(on_error="skip", batch_rows=200, checkpoint_s=0.0, resume=True, threads=1)
print(score_file(release, source, out, options).resumed_at)
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path / "release", version=0)
    return tmp_path / "release"


def table() -> pa.Table:
    """Every 1,000th row is bad."""
    numbers = np.arange(ROWS)
    heat = [f"{value % 40}" if value % 1000 else "hot" for value in numbers]
    return pa.table({"id": numbers, "AT": heat, "V": (numbers % 7).astype(np.float32), "note": ["a, b", None] * 6000})


def write_source(path: Path) -> Path:
    rows = table()
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(rows, path)
    elif path.suffix == ".jsonl":
        numbered = [row | {"AT": row["AT"] if row["AT"] == "hot" else int(row["AT"])} for row in rows.to_pylist()]
        path.write_text("".join(json.dumps(row) + "\n" for row in numbered))
    elif path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute('CREATE TABLE readings (id, "AT", V, note)')
            connection.executemany(
                "INSERT INTO readings VALUES (?, ?, ?, ?)", [tuple(r.values()) for r in rows.to_pylist()]
            )
    else:
        pyarrow.parquet.write_table(rows, path, row_group_size=3_333)
    return path


def read_result(path: Path) -> list[tuple[int, float]]:
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return list(connection.execute("SELECT id, prediction FROM predictions ORDER BY rowid"))
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if ".jsonl" in path.name:
            rows = [json.loads(line) for line in data.splitlines()]
        else:
            rows = pyarrow.csv.read_csv(pa.py_buffer(data)).to_pylist()
    return [(int(row["id"]), float(row["prediction"])) for row in rows]


EXPECTED = [(row, 10.0 + 2 * (row % 40) - row % 7) for row in range(ROWS) if row % 1000]


def start(release: Path, source: Path, out: Path, pause_s: float = 0.005) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(release), str(source), str(out), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(out: Path) -> int:
    found = PartFiles(out, out.with_name(f"{out.name}.errors.jsonl")).read()
    return found.done if found else 0


def killed_and_gone_on_with(release: Path, source: Path, out: Path, kills: int) -> int:
    """Kill a run a moment after it got further, `kills` times; return where the last one went on from."""
    pause = random.Random(str(out.name))
    for _ in range(kills):
        before = done(out)
        child = start(release, source, out)
        while child.poll() is None and done(out) <= before:
            time.sleep(0.005)
        time.sleep(pause.uniform(0.0, 0.02))
        child.kill()
        _, err = child.communicate()
        assert child.returncode == -signal.SIGKILL, err
        assert not out.exists()
    last = start(release, source, out, 0.0)
    resumed_at, err = last.communicate(timeout=60)
    assert last.returncode == 0, err
    return int(resumed_at)


def check_whole(tmp_path: Path, out: Path) -> None:
    assert read_result(out) == EXPECTED
    faults = [json.loads(line) for line in (tmp_path / f"{out.name}.errors.jsonl").read_text().splitlines()]
    assert [fault["row"] for fault in faults] == list(range(1, ROWS, 1000))
    assert not list(tmp_path.glob("*.part*"))


def test_a_killed_run_goes_on_with_no_row_twice_and_none_lost(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert killed_and_gone_on_with(release, write_source(tmp_path / "in.parquet"), out, 2) > 0
    check_whole(tmp_path, out)


@pytest.mark.slow
@pytest.mark.timeout(600)  # seven processes, each with ONNX Runtime to load
@pytest.mark.parametrize(
    ("source", "out"),
    [
        pytest.param("in.parquet", "out.parquet", marks=pytest.mark.sample),
        ("in.csv", "out.csv"),
        ("in.jsonl", "out.jsonl"),
        ("in.sqlite", "out.sqlite"),
        ("in.csv", "out.jsonl.gz"),
        ("in.jsonl", "out.parquet"),
        ("in.sqlite", "out.csv.gz"),
    ],
)
def test_runs_killed_again_and_again_end_with_every_row_once(
    release: Path, tmp_path: Path, source: str, out: str
) -> None:
    assert killed_and_gone_on_with(release, write_source(tmp_path / source), tmp_path / out, 6) > 0
    check_whole(tmp_path, tmp_path / out)


def unfinished(release: Path, source: Path, out: Path) -> int:
    """Leave a run killed in its middle."""
    child = start(release, source, out)
    while child.poll() is None and not done(out):
        time.sleep(0.005)
    child.kill()
    child.communicate()
    return done(out)


def newer_input(tmp_path: Path) -> None:
    os.utime(tmp_path / "in.csv", (1, 1))


def grown_input(tmp_path: Path) -> None:
    status = (tmp_path / "in.csv").stat()
    with (tmp_path / "in.csv").open("r+") as file:
        file.write("k")  # another byte at the same size and time
    os.utime(tmp_path / "in.csv", ns=(status.st_atime_ns, status.st_mtime_ns))


def other_model(tmp_path: Path) -> None:
    from simulators.small_models import regression

    write_release(tmp_path / "release", version=0, model=regression(bias=11.0))


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (newer_input, {}, "the input's content, size or time is not as it was"),
        (grown_input, {}, "the input's content, size or time is not as it was"),
        (other_model, {}, "the release's model is not as it was"),
        (None, {"keep": ["id"]}, r"keep \(id, AT, V, note then, id now\) is not as it was"),
        (None, {"on_error": "null"}, r"on error \(skip then, null now\) is not as it was"),
    ],
)
def test_what_changed_since_is_named_and_the_unfinished_run_stays(
    release: Path, tmp_path: Path, change: Callable[[Path], None] | None, options: dict[str, Any], said: str
) -> None:
    source, out = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    at = unfinished(release, source, out)
    if change:
        change(tmp_path)
    with pytest.raises(ScoreError, match=said):
        score_file(release, source, out, Options(**({"on_error": "skip", "resume": True} | options)))
    assert done(out) == at > 0
    assert not out.exists()


def test_without_resume_an_unfinished_run_is_replaced_and_that_is_said(release: Path, tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    at = unfinished(release, source, out)
    said: list[str] = []
    score_file(release, source, out, Options(on_error="skip"), tell=said.append)
    assert said == [f"an unfinished {out} of {at} rows is replaced; --resume would have gone on with it"]
    check_whole(tmp_path, out)


def test_resume_with_nothing_to_go_on_with_begins_and_says_so(release: Path, tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    said: list[str] = []
    score_file(release, source, out, Options(on_error="skip", resume=True), tell=said.append)
    assert said == [f"there is no unfinished {out} to go on with: from the first row"]
    check_whole(tmp_path, out)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_a_run_killed_after_its_last_row_only_takes_its_place(release: Path, tmp_path: Path, when: str) -> None:
    """The last checkpoint says that everything is written; the two files get their names one after the other."""
    source, out = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    killed = f"""
import os, signal
from pathlib import Path
when, names, real, unlink = {when!r}, [], Path.replace, Path.unlink
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def replace(path, to):
    if path.name.endswith(".part"):
        names.append(path.name)
        if len(names) == {{"before": 1, "between": 2, "after": 9}}[when]:
            kill()
    return real(path, to)
def remove(path, missing_ok=False):
    if len(names) == 2:
        kill()
    return unlink(path, missing_ok)
Path.replace, Path.unlink = replace, remove
"""
    command = [sys.executable, "-c", killed + CHILD, str(release), str(source), str(out)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert out.exists() == (when == "after")
    assert score_file(release, source, out, Options(on_error="skip", resume=True)).rows == ROWS
    check_whole(tmp_path, out)


@pytest.mark.parametrize("lost", ["out.csv.part", "out.csv.errors.jsonl.part", "half"])
def test_a_checkpoint_without_its_files_is_not_gone_on_with(release: Path, tmp_path: Path, lost: str) -> None:
    source, out = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    unfinished(release, source, out)
    part = tmp_path / "out.csv.part"
    if lost == "half":
        part.write_bytes(part.read_bytes()[:100])
    else:
        (tmp_path / lost).unlink()
    said: list[str] = []
    score_file(release, source, out, Options(on_error="skip", resume=True), tell=said.append)
    assert said == [f"there is no unfinished {out} to go on with: from the first row"]
    check_whole(tmp_path, out)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.csv.gz", "out.jsonl.gz", "out.parquet", "out.sqlite"])
def test_what_a_kill_left_beyond_the_place_is_taken_away(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    form = form_of(out, None, "--out-format")
    tables = [pa.table({"id": [number], "prediction": pa.array([float(number)], pa.float32())}) for number in range(4)]
    schema = tables[0].schema
    sink = open_sink(out, out, form, schema, [], frozenset())
    sink.write(tables[0])
    place = sink.commit()
    sink.write(tables[1])
    sink.commit()  # no checkpoint says so
    sink.close()
    again = open_sink(out, out, form, schema, place, frozenset())
    again.write(tables[2])
    assert again.commit() != place
    again.write(tables[3])
    again.finish()
    again.close()
    assert read_result(out) == [(0, 0.0), (2, 2.0), (3, 3.0)]


def test_a_side_file_goes_on_where_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    file = FaultFile(path)
    file.add([BadRow(1, "a")])
    size, counts = file.commit(), dict(file.counts)
    file.add([BadRow(2, "b")])
    file.commit()
    file.close()
    again = FaultFile(path, size, counts)
    again.add([BadRow(3, "a")])
    again.commit()
    again.close()
    assert [json.loads(line)["row"] for line in path.read_text().splitlines()] == [1, 3]
    assert again.counts == {"a": 2}


def test_rows_that_could_not_be_read_count_where_a_run_goes_on(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,AT,V\n" + "".join(f"{row},1\n" if row % 3 == 0 else f"{row},1,2\n" for row in range(300)))
    real = PartFiles.write

    def no_room_later(files: PartFiles, checkpoint: Any) -> None:
        if checkpoint.done >= 150:
            raise OSError("no room")
        real(files, checkpoint)

    monkeypatch.setattr(PartFiles, "write", no_room_later)
    options = Options(on_error="skip", batch_rows=10, checkpoint_s=0.0, resume=True)
    with pytest.raises(ScoreError, match="rows are safe"):
        score_file(release, source, out, options)
    monkeypatch.undo()
    summary = score_file(release, source, out, options)
    assert 0 < summary.resumed_at < 150
    assert (summary.rows, summary.written, summary.bad_rows) == (300, 200, 100)
    assert [row for row, _ in read_result(out)] == [row for row in range(300) if row % 3]


def test_two_runs_into_one_result_are_refused(release: Path, tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    files = PartFiles(out, tmp_path / "errors")
    files.lock()
    with pytest.raises(ScoreError, match="another `genba score` is writing it"):
        score_file(release, source, out, Options(on_error="skip"))
    files.release()
    score_file(release, source, out, Options(on_error="skip"))
    check_whole(tmp_path, out)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "genba", "score", *map(str, arguments)]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_release(tmp_path / "release", version=0, model=slow_regression())
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,AT,V\n" + "".join(f"{row},{row % 9},20000\n" for row in range(2_000)))
    score = command(tmp_path / "release", source, "--out", out, "--batch-rows", 20)
    child = subprocess.Popen(score, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "out.csv.part"
    while child.poll() is None and not (part.exists() and part.stat().st_size > 100):
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    text, err = child.communicate(timeout=30)
    assert (child.returncode, text) == (130, "")
    assert err == f"genba: interrupted; {done(out)} rows are kept; the same command with --resume goes on\n"
    assert 0 < done(out) < 2_000
    assert not out.exists()
    again = subprocess.run([*score, "--resume"], capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode == 0, again.stderr
    assert [row.split(",")[0] for row in out.read_text().splitlines()[1:]] == [str(row) for row in range(2_000)]
    assert "of which" in again.stdout
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "sqlite"])
def test_no_room_is_one_line_and_a_later_run_goes_on(release: Path, tmp_path: Path, suffix: str) -> None:
    source, out = write_source(tmp_path / "in.csv"), tmp_path / f"out.{suffix}"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))"
    child = subprocess.run(
        [sys.executable, "-c", limit + CHILD, str(release), str(source), str(out)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert child.returncode == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    last = child.stderr.splitlines()[-1]
    assert f"ResultNotWrittenError: {out}: " in last
    assert f"{done(out)} rows are safe, and --resume goes on after them" in last
    assert done(out) > 0
    assert not out.exists()
    score_file(release, source, out, Options(on_error="skip", resume=True))
    check_whole(tmp_path, out)
