"""How a long file flows: memory that stays flat, progress for a person alone, three stages at once."""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from simulators.small_models import write_release

from edge_agent.scoring.overlap import ReadAhead, WriteBehind, undisturbed
from edge_agent.scoring.progress import ProgressLine, progress_text

PEAK = """
import sys
from pathlib import Path
from edge_agent.scoring import Options, score_file
release, source, out = map(Path, sys.argv[1:4])
score_file(release, source, out, Options(threads=1))
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["csv", pytest.param("parquet", marks=pytest.mark.sample), "jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    write_release(tmp_path / "release", version=0)
    peaks = []
    for rows in (400_000, 2_000_000):
        source = tmp_path / f"{rows}.{form}"
        names = ["AT", "V", *(f"x{index}" for index in range(10 if form == "parquet" else 1))]
        columns = {name: np.random.default_rng(1).standard_normal(rows, dtype=np.float32) for name in names}
        table = pa.table(columns | {"id": np.arange(rows)})
        if form == "parquet":
            pyarrow.parquet.write_table(table, source, row_group_size=200_000)
        elif form == "csv":
            pyarrow.csv.write_csv(table, source)
        else:
            source.write_text("".join(json.dumps(row) + "\n" for row in table.slice(0, rows // 4).to_pylist()))
        command = [sys.executable, "-c", PEAK, str(tmp_path / "release"), str(source), str(tmp_path / f"out.{form}")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout))
    assert peaks[1] < peaks[0] + 60
    assert peaks[1] < 300


def test_progress_is_shown_on_a_terminal_and_wiped_at_the_end(tmp_path: Path) -> None:
    write_release(tmp_path / "release", version=0)
    source = tmp_path / "in.csv"
    source.write_text("AT,V\n" + "1,2\n" * 600_000)
    outside, inside = pty.openpty()
    command = [sys.executable, "-m", "genba", "score", str(tmp_path / "release"), str(source)]
    command += ["--out", str(tmp_path / "out.jsonl"), "--batch-rows", "500"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=inside)
    os.close(inside)
    said = b""
    while True:
        try:
            part = os.read(outside, 4096)
        except OSError:  # the child has left the terminal
            break
        if not part:
            break
        said += part
    os.close(outside)
    assert child.wait(30) == 0
    lines = said.decode().split("\r")
    assert any("rows a second" in line and " left" in line and "%)" in line for line in lines)
    assert any(line.startswith("types of the columns: ...") for line in lines)
    assert lines[-2].startswith("not signed: ")


def test_progress_tells_rate_and_time_left() -> None:
    assert progress_text(0, 0.0, 500, 0.5, 0.0) == "500 rows (50%)"
    assert progress_text(100, 0.1, 600, 0.6, 2.0) == "600 rows (60%), 50 rows a second, 8 s left"
    assert progress_text(100, 0.001, 600, 0.001, 10.0).endswith(", 2.8 h left")
    assert progress_text(100, 0.1, 600, 0.1, 60.0).endswith(", 9 min left")


def test_no_progress_in_a_pipe() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, iter(range(100)).__next__)
    for done in range(10):
        line.show(done, done / 10)
    line.end()
    assert stream.getvalue() == ""


def test_reading_goes_ahead_while_a_batch_is_worked_on() -> None:
    read: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(5):
            read.append(number)
            if number == 2:
                third.set()
            yield number

    reader = ReadAhead(numbers(), 2)
    items = iter(reader)
    assert next(items) == 0
    assert third.wait(5)
    assert list(items) == [1, 2, 3, 4]


def test_what_reading_raises_comes_in_its_turn_and_a_closed_reader_ends() -> None:
    def two_then_error() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    items = iter(ReadAhead(two_then_error(), 1))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(items)
    endless = ReadAhead(iter(int, 1), 1)
    endless.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "score-reader"]


def test_what_writing_raises_is_raised_and_nothing_more_is_written() -> None:
    written: list[int] = []

    def write(number: int) -> None:
        written.append(number)
        if number == 2:
            raise OSError("no room")

    writer = WriteBehind(write, 1)
    writer.put(1)
    writer.put(2)
    with contextlib.suppress(OSError):
        writer.put(3)  # whether the second has failed by now or not
    with pytest.raises(OSError, match="no room"):
        writer.finish()
    with pytest.raises(OSError, match="no room"):
        writer.put(4)
    assert written == [1, 2]
    abandoned = WriteBehind(write, 1)
    abandoned.abandon()
    abandoned.abandon()


def test_the_last_step_gives_its_result_or_its_error() -> None:
    def work() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 7

    assert undisturbed(work) == 7
    with pytest.raises(ValueError, match="no"):
        undisturbed(lambda: int("no"))
