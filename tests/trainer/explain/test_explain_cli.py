"""`genba explain`: in words and as a file, for one row what would have to change, and every refusal in one line."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

import genba
from protocols.manifest import Manifest

Candidate = tuple[Path, Manifest]


@pytest.fixture
def rows(tmp_path: Path, many_rows: pd.DataFrame) -> Path:
    path = tmp_path / "rows.csv"
    many_rows.head(60).to_csv(path, index=False)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    status = genba.main(["explain", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_rows_are_explained_in_words(
    regression_candidate: Candidate, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, regression_candidate[0], rows, "--rows", 2)
    assert status == 0
    first = out.split("row 2:")[0].splitlines()
    assert first[0].startswith("row 1: ")
    assert "(usually " in first[0]
    assert any("Torque [Nm] is " in line for line in first)
    assert "not signed: a candidate" in out


def test_a_file_has_every_row_and_its_contributions_add_up(
    class_candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "why.csv"
    status, told, _ = run(capsys, class_candidate[0], rows, "--out", out)
    assert status == 0
    assert "60 rows explained" in told
    table = pd.read_csv(out)
    assert list(table["row"]) == list(range(1, 61))
    assert set(table["of"]) == {"bad"}
    parts = table[[name for name in table if name.startswith("contribution_")]]
    assert parts.shape[1] == len(class_candidate[1].inputs)
    np.testing.assert_allclose(table["base"] + parts.sum(axis=1), table["output"], atol=1e-6)
    assert parts.abs().mean().idxmax() == "contribution_Torque [Nm]"


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_other_forms_are_written(
    ending: str, class_candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"why{ending}"
    assert run(capsys, class_candidate[0], rows, "--rows", 3, "--out", out)[0] == 0
    table = pd.read_parquet(out) if ending == ".parquet" else pd.read_json(out, lines=True)
    assert len(table) == 3


def bad_row(candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    out = tmp_path / "all.jsonl"
    run(capsys, candidate[0], rows, "--out", out)
    found = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    return next(one["row"] for one in found if one["prediction"] == "bad" and one["output"] < 0.9)


def test_it_says_what_would_have_to_change(
    class_candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = bad_row(class_candidate, rows, tmp_path, capsys)
    status, out, _ = run(capsys, class_candidate[0], rows, "--row", row, "--change", "Torque [Nm],wear")
    assert status == 0
    assert f"row {row}: bad" in out
    assert "to come out as 'good':" in out
    assert "1. Torque [Nm] from" in out
    assert "try it on the line first" in out


def test_a_number_is_brought_below_a_limit_and_a_name_with_a_comma_is_quoted(
    regression_candidate: Candidate, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = '"grade, cut",Torque [Nm]'
    status, out, _ = run(capsys, regression_candidate[0], rows, "--row", 1, "--change", change, "--below", 15)
    assert status == 0
    assert "Torque [Nm]" in out
    status, out, _ = run(capsys, regression_candidate[0], rows, "--row", 1, "--change", "grade, cut", "--below", -99)
    assert status == 0
    assert "no change of grade, cut within the ranges seen makes it at most -99; the nearest" in out


def test_another_background_gives_another_base(
    regression_candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heavy = pd.read_csv(rows)
    heavy["Torque [Nm]"] += 10
    heavy.to_csv(tmp_path / "heavy.csv", index=False)
    bases = []
    for more in ((), ("--background", tmp_path / "heavy.csv")):
        run(capsys, regression_candidate[0], rows, "--rows", 1, "--out", tmp_path / "why.csv", *more)
        bases.append(pd.read_csv(tmp_path / "why.csv")["base"][0])
    assert bases[1] - bases[0] > 2


def test_the_time_ends_it_and_it_says_so(
    regression_candidate: Candidate, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, regression_candidate[0], rows, "--time", "0.0001s")
    assert status == 0
    assert "the time ended first" in out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--row", 99), "--row 99: the file has 60 rows"),
        (("--row", 1, "--change", "Speed", "--below", 1), "--change 'Speed' is not a column"),
        (("--row", 1, "--change", "wear"), "--below X or --above X"),
        (("--row", 1, "--change", "wear", "--to", "good"), "--to is for classes"),
        (("--out", "why.txt"), "must end in .csv, .jsonl or .parquet"),
        (("--out", "no/folder/why.csv"), "--out no/folder/why.csv"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    more: tuple[Any, ...],
    words: str,
    regression_candidate: Candidate,
    rows: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, regression_candidate[0], rows, "--rows", 1, *more)
    assert status == 1
    assert words in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("more", [("--change", "wear"), ("--row", 1, "--below", 3), ("--row", 0)])
def test_options_that_do_not_go_together_are_wrong_usage(
    more: tuple[Any, ...], regression_candidate: Candidate, rows: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        genba.main(["explain", str(regression_candidate[0]), str(rows), *map(str, more)])
    assert stopped.value.code == 2


def test_a_file_that_does_not_fit_the_model_is_told(
    regression_candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(rows)
    table.drop(columns="wear").to_csv(tmp_path / "short.csv", index=False)
    status, _, err = run(capsys, regression_candidate[0], tmp_path / "short.csv")
    assert (status, "in short.csv, the input 'wear' is not a column" in err) == (1, True)
    table["wear"] = table["wear"].astype(object)
    table.loc[3, "wear"] = "n/a!"
    table.to_csv(tmp_path / "text.csv", index=False)
    status, _, err = run(capsys, regression_candidate[0], tmp_path / "text.csv")
    assert (status, "text.csv: 'wear' is 'n/a!' in row 4" in err) == (1, True)


def test_a_folder_that_was_edited_is_refused(
    regression_candidate: Candidate, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "edited"
    folder.mkdir()
    for file in regression_candidate[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes() + (b"x" if file.name == "model.onnx" else b""))
    assert run(capsys, folder, rows)[0] == 1
