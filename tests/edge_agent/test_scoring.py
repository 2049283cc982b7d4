"""`genba score`: tables through a release, each form in and out, each fault one clear line, no half file."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from simulators.small_models import classification, write_release

from edge_agent.errors import ScoreError
from edge_agent.scoring import Options, score_file
from genba import main

CSV = 'id,AT,V,note\n007,1,2,a\n008,,3,"b, c"\n009,NA,4,NA\n'


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path / "release", version=0)
    return tmp_path / "release"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_csv_keeps_its_columns_to_the_letter_and_gains_predictions(release: Path, tmp_path: Path, capsys: Any) -> None:
    source, out = write(tmp_path / "in.csv", CSV), tmp_path / "out.csv"
    assert main(["score", str(release), str(source), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"3 rows scored into {out}\n")
    assert out.read_text().splitlines() == [
        "id,AT,V,note,prediction",
        "007,1,2,a,10",
        '008,,3,"b, c",7',
        "009,NA,4,NA,6",
    ]


def test_keep_names_the_columns_to_copy(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    score_file(release, write(tmp_path / "in.csv", CSV), out, Options(keep=["id"]))
    assert out.read_text().splitlines()[0] == "id,prediction"


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "jsonl", "jsonl.gz"])
def test_every_form_gives_the_same_predictions(release: Path, tmp_path: Path, suffix: str) -> None:
    table = pa.table({"AT": [1.5, None, 3.0], "V": [1, 2, 3], "note": ["a", "b", None]})
    source, out = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    text = {
        "csv": "AT,V,note\n1.5,1,a\n,2,b\n3.0,3,\n",
        "jsonl": "".join(json.dumps(row) + "\n" for row in table.to_pylist()),
    }
    if suffix == "parquet":
        pyarrow.parquet.write_table(table, source)
    elif suffix.endswith(".gz"):
        source.write_bytes(gzip.compress(text[suffix.removesuffix(".gz")].encode()))
    else:
        source.write_text(text[suffix])
    assert score_file(release, source, out).rows == 3
    found: Any
    if suffix == "parquet":
        found = pyarrow.parquet.read_table(out)["prediction"].to_pylist()
    else:
        data = gzip.decompress(out.read_bytes()) if suffix.endswith(".gz") else out.read_bytes()
        if "csv" in suffix:
            found = pyarrow.csv.read_csv(pa.py_buffer(data))["prediction"].to_pylist()
        else:
            found = [json.loads(line)["prediction"] for line in data.splitlines()]
    assert found == [12.0, 8.0, 13.0]


def test_a_classifier_gives_probabilities(tmp_path: Path) -> None:
    write_release(tmp_path / "release", model=classification())
    out = tmp_path / "out.jsonl"
    score_file(tmp_path / "release", write(tmp_path / "in.csv", "AT;kind\n4;a\n-4;b\n;\n"), out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prediction"] for row in rows] == ["high", "low", "low"]
    assert set(rows[0]) == {"AT", "kind", "prediction", "probability_low", "probability_mid", "probability_high"}
    assert sum(rows[0][f"probability_{name}"] for name in ("low", "mid", "high")) == pytest.approx(1)


TYPES = """id,AT,V,count,share,serial,mixed,late,blank,note
007,1,+2,1,0.50,12345678901234567890,12345678901234567,1,,a
008,,3,NA,.5,1,0.5,2,,
009, 4 ,5,-3,1e-2,2,3,3,NA,NA
"""


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_numbers_of_a_csv_are_numbers_in_a_form_with_types_and_keys_stay(
    release: Path, tmp_path: Path, suffix: str
) -> None:
    """`late` is a text by a row in a later batch alone."""
    out = tmp_path / f"out.{suffix}"
    more = "010,0,0,4,1,3,4,4,,b\n" * 60_000 + "011,0,0,4,1,3,4,x,,b\n"
    score_file(release, write(tmp_path / "in.csv", TYPES + more), out)
    rows = (
        pyarrow.parquet.read_table(out).to_pylist()
        if suffix == "parquet"
        else [json.loads(line) for line in out.read_text().splitlines()]
    )
    assert {name: [row[name] for row in rows[:3]] for name in rows[0] if name != "prediction"} == {
        "id": ["007", "008", "009"],
        "AT": [1.0, None, 4.0],
        "V": [2.0, 3.0, 5.0],
        "count": [1, None, -3],
        "share": [0.5, 0.5, 0.01],
        "serial": ["12345678901234567890", "1", "2"],
        "mixed": ["12345678901234567", "0.5", "3"],
        "late": ["1", "2", "3"],
        "blank": ["", "", "NA"],
        "note": ["a", "", "NA"],
    }
    assert [type(row["count"]) for row in rows[:3]] == [int, type(None), int]


def test_a_category_that_is_written_as_a_number_stays_a_text(tmp_path: Path) -> None:
    write_release(tmp_path / "release", model=classification())
    out = tmp_path / "out.jsonl"
    score_file(tmp_path / "release", write(tmp_path / "in.csv", "AT,kind\n4,1\n"), out)
    row = json.loads(out.read_text())
    assert (row["AT"], row["kind"]) == (4.0, "1")


def test_a_long_file_streams(release: Path, tmp_path: Path) -> None:
    values = np.arange(30_000) % 40
    source, out = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("AT,V\n" + "".join(f"{value},0\n" for value in values))
    assert score_file(release, source, out).rows == 30_000
    found = pyarrow.parquet.read_table(out)["prediction"].to_numpy()
    np.testing.assert_allclose(found, 10 + 2 * values)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("in.csv", "", "is empty"),
        ("in.jsonl", "", "is empty"),
        ("in.csv", "AT,W\n1,2\n", "lacks the column 'V' that the candidate 'ccpp' needs; it has 'AT', 'W'"),
        ("in.csv", "AT,V\n1,2\nhot,3\n", "row 2, column 'AT': 'hot': expected a number"),
        ("in.csv", "AT,V\n1,2\n1e39,3\n", "row 2, column 'AT': 1e+39 is beyond what a float32 holds"),
        ("in.csv", "AT,V\n1,2\n3\n", "Expected 2 columns, got 1"),
        ("in.csv", "AT,AT\n1,2\n", "the column 'AT' is there twice"),
        ("in.csv", "AT,V,prediction\n1,2,3\n", "has a column 'prediction' already"),
        ("in.jsonl", '{"AT": 1, "V": 2}\n{"AT": 1\n', "line 2"),
        ("in.jsonl", "[1]\n", "line 1: a row is a JSON object"),
        ("in.parquet", "no parquet", "in.parquet"),
        ("in.txt", "AT,V\n", "its name does not say what it is"),
        ("in.csv.gz", "AT,V\n1,2\n", "in.csv.gz"),
    ],
)
def test_a_bad_file_is_one_clear_line_and_leaves_nothing(
    release: Path, tmp_path: Path, capsys: Any, name: str, text: str, said: str
) -> None:
    source, out = write(tmp_path / name, text), tmp_path / "made" / "out.csv"
    out.parent.mkdir()
    assert main(["score", str(release), str(source), "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(out.parent.iterdir()) == []


def test_a_fault_late_in_the_file_leaves_the_old_result(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", write(tmp_path / "out.csv", "the old result")
    source.write_text("AT,V\n" + "1,2\n" * 200_000 + "cold,2\n")
    with pytest.raises(ScoreError, match="row 200001, column 'AT': 'cold'"):
        score_file(release, source, out)
    assert out.read_text() == "the old result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv", "release"]


def test_an_edited_release_is_one_clear_line(release: Path, tmp_path: Path, capsys: Any) -> None:
    model = release / "model.onnx"
    model.write_bytes(model.read_bytes() + b"!")
    source = write(tmp_path / "in.csv", CSV)
    assert main(["score", str(release), str(source), "--out", str(tmp_path / "out.csv")]) == 1
    err = capsys.readouterr().err
    assert f"{model} was changed after it was made" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("what", ["none", "file", "empty"])
def test_what_is_no_release_is_one_clear_line(tmp_path: Path, capsys: Any, what: str) -> None:
    folder = tmp_path / "release"
    if what == "file":
        folder.write_text("x")
    elif what == "empty":
        folder.mkdir()
    source = write(tmp_path / "in.csv", CSV)
    assert main(["score", str(folder), str(source), "--out", str(tmp_path / "o.csv")]) == 1
    assert str(folder) in capsys.readouterr().err


def test_the_input_is_never_overwritten_and_a_missing_one_is_named(release: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", CSV)
    with pytest.raises(ScoreError, match="is the input"):
        score_file(release, source, source)
    with pytest.raises(ScoreError, match="no such file"):
        score_file(release, tmp_path / "none.csv", tmp_path / "o.csv")
    with pytest.raises(ScoreError, match="--keep 'X'"):
        score_file(release, source, tmp_path / "o.csv", Options(keep=["X"]))
