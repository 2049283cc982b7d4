"""`genba score` with models that take a window, an image, or state: a row of a file after the other, as on a stream."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from simulators.small_kinds import Kind, picture, pictured, recurrent_window, stateful, windowed, write_kind

from edge_agent.errors import ScoreError
from edge_agent.scoring import Options, score_file
from edge_agent.scoring.checkpoint import PartFiles
from genba import main

ROWS = 500


def release_of(tmp_path: Path, kind: Kind) -> Path:
    write_kind(tmp_path / "release", kind, version=0)
    return tmp_path / "release"


def readings(tmp_path: Path, bad: int | None = None) -> Path:
    heat = [str(1 + row % 9) for row in range(ROWS)]
    if bad is not None:
        heat[bad] = "hot"
    path = tmp_path / "in.csv"
    path.write_text("id,AT,V\n" + "".join(f"{row},{value},{row % 5}\n" for row, value in enumerate(heat)))
    return path


def predictions(out: Path) -> list[float | None]:
    found: list[float | None] = pyarrow.parquet.read_table(out)["prediction"].to_pylist()
    return found


def test_each_row_completes_the_window_that_ends_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    summary = score_file(release_of(tmp_path, windowed()), readings(tmp_path), out, Options(batch_rows=7))
    heat = [1 + row % 9 for row in range(ROWS)]
    wanted = [sum(heat[row - 3 : row + 1]) + row % 5 for row in range(3, ROWS)]
    assert predictions(out) == [None, None, None, *wanted]
    assert (summary.rows, summary.written, summary.filling) == (ROWS, ROWS, 3)


def test_a_window_longer_than_a_batch_and_than_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    release = release_of(tmp_path, windowed(100))
    score_file(release, readings(tmp_path), out, Options(batch_rows=7))
    assert [row for row, value in enumerate(predictions(out)) if value is None] == list(range(99))
    short = tmp_path / "short.csv"
    short.write_text("AT,V\n1,2\n3,4\n")
    assert score_file(release, short, out).filling == 2
    assert predictions(out) == [None, None]


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_bad_row_leaves_no_gap_in_the_window(tmp_path: Path, on_error: Any) -> None:
    out = tmp_path / "out.parquet"
    source = readings(tmp_path, bad=10)
    score_file(release_of(tmp_path, windowed()), source, out, Options(batch_rows=7, on_error=on_error))
    heat = {row: 1 + row % 9 for row in range(ROWS) if row != 10}
    found = dict(zip(pyarrow.parquet.read_table(out)["id"].to_pylist(), predictions(out), strict=True))
    assert found[11] == heat[8] + heat[9] + heat[11] + heat[7] + 11 % 5
    assert (10 in found) == (on_error == "null")
    assert found.get(10) is None


def test_state_goes_from_row_to_row(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    score_file(release_of(tmp_path, stateful()), readings(tmp_path), out, Options(batch_rows=64))
    sums = np.cumsum(np.log([1 + row % 9 for row in range(ROWS)]))
    np.testing.assert_allclose(predictions(out), sums + np.arange(ROWS) % 5, rtol=1e-4)


def test_a_row_that_breaks_the_state_is_bad_and_the_state_stays(tmp_path: Path) -> None:
    out, source = tmp_path / "out.parquet", tmp_path / "in.csv"
    source.write_text("AT,V\n1,0\n2,0\n-1,0\n3,0\n")
    score_file(release_of(tmp_path, stateful()), source, out, Options(on_error="null"))
    found = predictions(out)
    assert found[2] is None
    np.testing.assert_allclose([found[0], found[1], found[3]], np.log([1, 2, 6]), atol=1e-6)
    fault = json.loads((tmp_path / "out.parquet.errors.jsonl").read_text())
    assert fault["row"] == 3
    assert "makes the state 'after' NaN" in fault["reason"]


@pytest.mark.parametrize("kind", [windowed(), stateful(), recurrent_window()], ids=["window", "state", "both"])
def test_a_run_that_goes_on_remembers_what_came_before(tmp_path: Path, kind: Kind, monkeypatch: Any) -> None:
    release, source = release_of(tmp_path, kind), readings(tmp_path)
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    score_file(release, source, whole)
    real = PartFiles.write

    def stop_after_the_third(files: PartFiles, checkpoint: Any) -> None:
        real(files, checkpoint)
        if checkpoint.done >= 60:
            raise OSError("no room")

    monkeypatch.setattr(PartFiles, "write", stop_after_the_third)
    options = Options(batch_rows=20, checkpoint_s=0.0, resume=True)
    with pytest.raises(ScoreError, match="40 rows are safe"):
        score_file(release, source, out, options)
    monkeypatch.undo()
    assert score_file(release, source, out, options).resumed_at == 60
    assert predictions(out) == predictions(whole)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "line 2").mkdir(parents=True)
    (folder / "b.png").write_bytes(picture((255, 0, 0)))
    (folder / "a.JPG").write_bytes(picture((0, 255, 0), "JPEG", (40, 30)))
    (folder / "line 2" / "c.jpeg").write_bytes(picture((0, 0, 0), "JPEG"))
    (folder / "line 10").mkdir()
    (folder / "line 10" / "d.png").write_bytes(picture((0, 0, 0)))
    (folder / "labels.csv").write_text("file,label\n")
    return folder


def test_a_folder_of_images_is_a_table_of_one_row_a_file(tmp_path: Path, pictures: Path, capsys: Any) -> None:
    release, out = release_of(tmp_path, pictured()), tmp_path / "out.csv"
    assert main(["score", str(release), str(pictures), "--out", str(out)]) == 0
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert rows[0] == ["file", "prediction", "probability_dark", "probability_red", "probability_green"]
    assert [row[:2] for row in rows[1:]] == [
        ["a.JPG", "green"], ["b.png", "red"], ["line 10/d.png", "dark"], ["line 2/c.jpeg", "dark"],
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert said.startswith(f"4 rows scored into {out}\n")
    assert "predictions: dark 50.0%, green 25.0%, red 25.0%" in said


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a0.png", b"no image at all", "no JPEG or PNG"),
        ("a0.png", b"", "no image: it is empty"),
        ("a0.jpg", picture((9, 9, 9), "JPEG")[:200], "a JPEG that cannot be decoded"),
        ("a0.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 9_000_000, "an image of"),
    ],
)
def test_an_image_that_is_not_one_is_one_clear_line_or_one_bad_row(
    tmp_path: Path, pictures: Path, capsys: Any, name: str, data: bytes, said: str
) -> None:
    (pictures / name).write_bytes(data)
    release, out = release_of(tmp_path, pictured()), tmp_path / "out.csv"
    assert main(["score", str(release), str(pictures), "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert f"{pictures / name}, row 2: " in err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
    score_file(release, pictures, out, Options(on_error="skip"))
    assert len(out.read_text().splitlines()) == 5
    fault = json.loads((tmp_path / "out.csv.errors.jsonl").read_text())
    assert (fault["row"], fault["values"]) == (2, {"file": name})
    assert said in fault["reason"]


def test_a_file_that_may_not_be_read_is_a_bad_row(tmp_path: Path, pictures: Path) -> None:
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere.png")
    out = tmp_path / "out.csv"
    release = release_of(tmp_path, pictured())
    score_file(release, pictures, out, Options(on_error="null"))
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert [row[1] for row in rows if row[0] == "gone.png"] == [""]


def test_a_picture_with_a_name_that_is_no_text(tmp_path: Path, pictures: Path) -> None:
    (pictures / os.fsdecode(b"d\xff.png")).write_bytes(picture((255, 0, 0)))
    out = tmp_path / "out.jsonl"
    score_file(release_of(tmp_path, pictured()), pictures, out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prediction"] for row in rows if row["file"].startswith("d")] == ["red"]


def test_folders_of_many_images_go_in_batches_and_in_order(tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out.parquet"
    folder.mkdir()
    files = [picture((255, 0, 0)), picture((0, 255, 0))]
    for number in range(600):
        (folder / f"{number:03}.png").write_bytes(files[number % 2])
    score_file(release_of(tmp_path, pictured(batch=1)), folder, out)
    found = pyarrow.parquet.read_table(out)
    names = found["file"].to_pylist()
    assert all(before < after for before, after in pairwise(names))
    assert found["prediction"].to_pylist() == ["red", "green"] * 300


def test_what_a_model_does_not_take_is_one_clear_line(tmp_path: Path, pictures: Path, capsys: Any) -> None:
    release = release_of(tmp_path, pictured())
    out = str(tmp_path / "out.csv")
    source = readings(tmp_path)
    assert main(["score", str(release), str(source), "--out", out]) == 1
    assert "takes images: give a folder of them" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert main(["score", str(release), str(tmp_path / "none"), "--out", out]) == 1
    assert "holds no image (.jpg, .jpeg, .png)" in capsys.readouterr().err
    table = release_of(tmp_path, windowed())
    assert main(["score", str(table), str(pictures), "--out", out]) == 1
    assert "takes a table: give a file of one" in capsys.readouterr().err
    assert main(["score", str(release), str(source), "--format", "images", "--out", out]) == 1
    assert "images are in a folder, and a table is a file" in capsys.readouterr().err
