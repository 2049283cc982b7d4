"""Files that `genba score` cannot read, or not all of: one clear line, nothing half written; or bad rows told apart."""

import contextlib
import csv
import gzip
import json
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import pytest
from onnx import TensorProto, helper
from simulators.small_models import file_info, picky_regression, write_release

from edge_agent.scoring import Options, csv_table, score_file
from genba import main
from protocols.manifest import Manifest, TensorSpec, decode_manifest, encode_manifest
from protocols.reference import ReferenceProfile, encode_reference
from protocols.sketches import NumericSketch

GOOD = pa.table({"id": np.arange(50_000), "AT": np.arange(50_000) % 40, "V": np.ones(50_000, np.float32)})


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path / "release", version=0)
    return tmp_path / "release"


def parquet(path: Path, **columns: Any) -> None:
    pyarrow.parquet.write_table(pa.table(columns), path)


def whole(path: Path) -> bytes:
    pyarrow.parquet.write_table(GOOD, path, compression="snappy", row_group_size=10_000)
    return path.read_bytes()


def other_columns(path: Path) -> None:
    parquet(path, AT=[1.0], W=[2.0])


def a_column_of_times(path: Path) -> None:
    parquet(path, AT=pa.array([1], pa.timestamp("s")), V=[2.0])


def a_column_of_lists(path: Path) -> None:
    parquet(path, AT=[[1.0]], V=[2.0])


def a_cut_footer(path: Path) -> None:
    path.write_bytes(whole(path)[:-9])


def a_cut_file(path: Path) -> None:
    data = whole(path)
    path.write_bytes(data[: len(data) // 2])


def a_footer_alone(path: Path) -> None:
    path.write_bytes(whole(path)[-2_000:])


def a_spoilt_page(path: Path) -> None:
    """Far in the file, so that much is scored before it is met."""
    data = bytearray(whole(path))
    metadata = pyarrow.parquet.read_metadata(path)
    at = metadata.row_group(4).column(1).data_page_offset
    data[at + 30 : at + 400] = b"\xff" * 370
    path.write_bytes(data)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def text_behind(line: bytes, rows: int = 30_000) -> Callable[[Path], None]:
    """A CSV of good rows with this line in its middle."""

    def write(path: Path) -> None:
        good = b"".join(b"%d,%d,2\n" % (row, row % 40) for row in range(rows))
        path.write_bytes(b"id,AT,V\n" + good + line + good)

    return write


def no_utf8(path: Path) -> None:
    path.write_bytes("id,AT,V,ort\n1,2,3,Köln\n".encode("latin-1"))


def gzip_cut(path: Path) -> None:
    path.write_bytes(gzip.compress(b"AT,V\n" + b"1,2\n" * 100_000)[:-20])


def no_database(path: Path) -> None:
    path.write_bytes(b"AT,V\n1,2\n")


def a_cut_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE TABLE readings ("AT", V)')
        connection.executemany("INSERT INTO readings VALUES (?, ?)", [(row, 1) for row in range(50_000)])
    path.write_bytes(path.read_bytes()[:100_000])


def jsonl(line: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        good = '{"AT": 1, "V": 2}\n' * 30_000
        path.write_text(good + line + "\n" + good)

    return write


def one_endless_line(path: Path) -> None:
    path.write_text("[" + '{"AT": 1, "V": 2},' * 1_000_000 + "]")


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("in.parquet", other_columns, "lacks the column 'V' that the candidate 'ccpp' needs; it has 'AT', 'W'"),
        (
            "in.parquet",
            a_column_of_times,
            "the column 'AT' is of type timestamp[",
        ),
        ("in.parquet", a_column_of_lists, "the column 'AT' is of type list<element: double>"),
        ("in.parquet", a_cut_footer, "in.parquet: "),
        ("in.parquet", a_cut_file, "in.parquet: Parquet magic bytes not found in footer"),
        ("in.parquet", a_footer_alone, "in.parquet: "),
        ("in.parquet", a_spoilt_page, "in.parquet: "),
        ("in.parquet", nothing, "in.parquet is empty"),
        ("in.csv", text_behind(b"7,8\n"), "row 30001, Expected 3 columns, got 2: '7,8'"),
        ("in.csv", text_behind(b"7,8,9,10\n"), "row 30001, Expected 3 columns, got 4: '7,8,9,10'"),
        ("in.csv", text_behind(b"7,hot,9\n"), "row 30001, column 'AT': 'hot': expected a number"),
        ("in.csv", text_behind(b'7,"8,9\n'), "in.csv, row 30001, Expected 3 columns, got 2: '7,"),
        ("in.csv", no_utf8, "in.csv: it is not UTF-8 text; save it as UTF-8"),
        ("in.csv", nothing, "in.csv is empty"),
        ("in.csv.gz", gzip_cut, "in.csv.gz: "),
        ("in.sqlite", no_database, "in.sqlite is not a SQLite database"),
        ("in.sqlite", a_cut_database, "in.sqlite: database disk image is malformed"),
        ("in.sqlite", nothing, "in.sqlite is empty"),
        ("in.jsonl", jsonl('{"AT": 1, "V": '), "row 30001, line 30001: Input data was truncated"),
        ("in.jsonl", jsonl('{"AT": [1], "V": 2}'), "row 30001, column 'AT': '[1]': expected a number"),
        ("in.jsonl", jsonl('{"AT": "true", "V": 2}'), "row 30001, column 'AT': '\"true\"': expected a number"),
        ("in.jsonl", jsonl('{"AT": 1e400, "V": 2}'), "row 30001, column 'AT': inf is beyond what a float32 holds"),
        ("in.jsonl", one_endless_line, "line 1: it is longer than 16 MiB; a row is a JSON object"),
    ],
)
def test_a_file_that_cannot_be_scored_is_one_clear_line_and_leaves_nothing(
    release: Path, tmp_path: Path, capsys: Any, name: str, spoil: Callable[[Path], None], said: str
) -> None:
    source = tmp_path / name
    spoil(source)
    before = sorted(path.name for path in tmp_path.iterdir())
    for form in ("csv", "parquet", "jsonl", "sqlite"):
        assert main(["score", str(release), str(source), "--out", str(tmp_path / f"out.{form}")]) == 1
        err = capsys.readouterr().err
        assert said in err
        assert err.startswith("genba: ")
        assert err.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before


RAGGED = (
    "id,AT,V\n"
    "1,1,0\n"
    "2,1\n"  # too short
    "\n"
    "3,1,0\n"
    '"4\nx",1,0\n'
    "5,1,0,0\n"  # too long
    "6,1,0\n"
    "7,hot,0\n"  # no number
    "8,1,\n"
    "9,1,1e39\n"  # too large
    "10\n"  # too short, and the last
)
REASONS = {
    2: "Expected 3 columns, got 2",
    5: "Expected 3 columns, got 4",
    7: "column 'AT': 'hot': expected a number",
    9: "column 'V': 1e+39 is beyond what a float32 holds",
    10: "Expected 3 columns, got 1",
}


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "sqlite"])
def test_bad_rows_are_left_out_or_kept_without_a_prediction(
    release: Path, tmp_path: Path, form: str, batch_rows: int
) -> None:
    source = tmp_path / "in.csv"
    source.write_text(RAGGED)
    results = {}
    for on_error in ("skip", "null"):
        out = tmp_path / f"{on_error}.{form}"
        options = Options(on_error=on_error, batch_rows=batch_rows, keep=["id"])  # type: ignore[arg-type]
        summary = score_file(release, source, out, options)
        faults = [json.loads(line) for line in (tmp_path / f"{out.name}.errors.jsonl").read_text().splitlines()]
        assert {fault["row"]: fault["reason"] for fault in faults} == REASONS
        assert (summary.rows, summary.bad_rows) == (10, 5)
        results[on_error] = ids_and_predictions(out)
    assert results["skip"] == [("1", 12.0), ("3", 12.0), ("4\nx", 12.0), ("6", 12.0), ("8", 12.0)]
    assert results["null"] == [
        ("1", 12.0), (None, None), ("3", 12.0), ("4\nx", 12.0), (None, None), ("6", 12.0), ("7", None), ("8", 12.0),
        ("9", None), (None, None),
    ]  # fmt: skip


def ids_and_predictions(out: Path) -> list[tuple[str | None, float | None]]:
    if out.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(out)) as connection:
            return list(connection.execute("SELECT id, prediction FROM predictions ORDER BY rowid"))
    if out.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(out).to_pylist()
    elif out.suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        with out.open(newline="") as file:
            found = list(csv.DictReader(file))
        return [(row["id"] or None, float(row["prediction"]) if row["prediction"] else None) for row in found]
    return [(row["id"], row["prediction"]) for row in rows]


def test_bad_rows_that_were_told_are_held_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "_BLOCK_BYTES", 2048)
    source = tmp_path / "in.csv"
    source.write_text("AT,V\n" + ("1,2\n" + "1,2,a third\n" * 99) * 600)
    read, most = 0, 0
    tracemalloc.start()
    try:
        for batch in csv_table.CsvSource(source).batches(["AT", "V"], done=0, most=200):
            assert batch.first == read
            read += batch.rows
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert read == 60_000
    assert most < 2_000_000


def test_the_side_file_has_each_row_as_it_stood(release: Path, tmp_path: Path, capsys: Any) -> None:
    source, out, side = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "bad" / "rows.jsonl"
    source.write_text(RAGGED)
    side.parent.mkdir()
    arguments = ["--on-error", "skip", "--errors", str(side), "--keep", "id"]
    assert main(["score", str(release), str(source), "--out", str(out), *arguments]) == 0
    faults = [json.loads(line) for line in side.read_text().splitlines()]
    assert faults[0] == {"row": 2, "reason": "Expected 3 columns, got 2", "text": "2,1"}
    assert faults[2]["values"] == {"id": "7", "AT": "hot", "V": "0"}
    said = capsys.readouterr().out
    assert f"5 bad rows left out; each is in {side}\n" in said
    assert "  1 x column 'AT': ...: expected a number\n" in said


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_file_of_bad_rows_alone_is_a_failure(release: Path, tmp_path: Path, capsys: Any, on_error: str) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("AT,V\nhot,1\nhot,2\n")
    assert main(["score", str(release), str(source), "--out", str(out), "--on-error", on_error]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"0 rows scored into {out}\n2 rows read, ")
    assert f"genba: none of the 2 rows of {source} could be scored; {out}.errors.jsonl says why\n" in said.err
    assert len(out.read_text().splitlines()) == (3 if on_error == "null" else 1)


def test_a_file_of_no_rows_says_so(release: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in.csv").write_text("AT,V\n")
    assert main(["score", str(release), str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv")]) == 0
    assert capsys.readouterr().out.startswith("no rows: the input has none, ")
    assert (tmp_path / "out.csv").read_text() == "AT,V,prediction\n"


def test_a_side_file_of_an_earlier_run_does_not_stay(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(RAGGED)
    side = tmp_path / "out.csv.errors.jsonl"
    assert score_file(release, source, out, Options(on_error="skip")).faults == str(side)
    source.write_text("id,AT,V\n1,2,3\n")
    assert score_file(release, source, out, Options(on_error="skip")).faults is None
    assert not side.exists()


def test_bad_rows_of_json_and_sqlite(release: Path, tmp_path: Path) -> None:
    lines = ['{"AT": 1, "V": 0}', '{"AT": "hot", "V": {"a": 1}}', "nonsense", "[]", '{"AT": 2, "V": null}']
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines))
    assert score_file(release, source, tmp_path / "a.csv", Options(on_error="null")).bad_rows == 3
    faults = [json.loads(line) for line in (tmp_path / "a.csv.errors.jsonl").read_text().splitlines()]
    assert [fault["row"] for fault in faults] == [2, 3, 4]
    assert faults[0]["values"] == {"AT": "hot", "V": {"a": 1}}
    assert (faults[1]["text"], faults[2]["reason"]) == ("nonsense", "line 4: a row is a JSON object")
    assert (tmp_path / "a.csv").read_text().splitlines()[1:] == ["1,0,12", 'hot,"{""a"": 1}",', ",,", ",,", "2,,14"]

    lines = ['{"AT": 1, "V": 0}', '{"AT": "12.5", "V": 1}', '{"AT": 1}', '{"AT": null, "V": 0}', '{"AT": "NA", "V": 1}']
    source.write_text("\n".join(lines))
    score_file(release, source, tmp_path / "c.jsonl", Options(on_error="skip"))
    assert (tmp_path / "c.jsonl").read_text() == ('{"AT":1,"V":0,"prediction":12}\n{"AT":null,"V":0,"prediction":10}\n')
    faults = [json.loads(line) for line in (tmp_path / "c.jsonl.errors.jsonl").read_text().splitlines()]
    assert [(fault["row"], fault["reason"]) for fault in faults] == [
        (2, "column 'AT': '\"12.5\"': expected a number"),
        (3, "column 'V' is not in the row (null would mean: not measured)"),
        (5, "column 'AT': '\"NA\"': expected a number"),
    ]
    assert [fault["values"] for fault in faults[:2]] == [{"AT": "12.5", "V": 1}, {"AT": 1}]

    database = tmp_path / "in.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute('CREATE TABLE readings ("AT", V)')
        connection.executemany("INSERT INTO readings VALUES (?, ?)", [(1, 0), ("hot", 1), (b"\x01", 1), ("NA", 1.5)])
    assert score_file(release, database, tmp_path / "b.csv", Options(on_error="skip")).bad == {
        "column 'AT': ...: expected a number": 1
    }
    assert (tmp_path / "b.csv").read_text().splitlines()[-1] == "NA,1.5,8.5"


def counting(folder: Path) -> Manifest:
    """A release that adds two whole numbers, which may not be missing."""
    write_release(folder, version=0)
    nodes = [helper.make_node("Add", ["AT", "V"], ["sum"]), helper.make_node("Cast", ["sum"], ["prediction"], to=1)]
    whole = [helper.make_tensor_value_info(name, TensorProto.INT64, [None, 1]) for name in ("AT", "V")]
    out = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])]
    graph = helper.make_graph(nodes, "counting", whole, out)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    manifest = decode_manifest((folder / "release.json").read_bytes())
    files = manifest.files | {"model.onnx": file_info(folder / "model.onnx")}
    inputs = (TensorSpec("AT", "int64"), TensorSpec("V", "int64"))
    manifest = msgspec.structs.replace(manifest, files=files, inputs=inputs)
    (folder / "release.json").write_bytes(encode_manifest(manifest))
    return manifest


def test_whole_numbers_that_are_missing_or_broken_are_bad(tmp_path: Path) -> None:
    counting(tmp_path / "release")
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("AT,V\n1,2\n,2\n1.5,2\n9223372036854775808,2\n5,6\n")
    score_file(tmp_path / "release", source, out, Options(on_error="null"))
    assert out.read_text().splitlines()[1:] == ["1,2,3", ",2,", "1.5,2,", "9223372036854775808,2,", "5,6,11"]
    faults = [json.loads(line)["reason"] for line in (tmp_path / "out.csv.errors.jsonl").read_text().splitlines()]
    assert faults == [
        "column 'AT' is missing, and the model takes no missing value there",
        "column 'AT': '1.5': expected a whole number",
        "column 'AT': '9223372036854775808': expected a whole number",
    ]
    parquet(tmp_path / "in.parquet", AT=[1.0, None, 1.5, 1e300], V=[1, 2, 3, 4])
    score_file(tmp_path / "release", tmp_path / "in.parquet", out, Options(on_error="skip"))
    assert out.read_text().splitlines()[1:] == ["1,1,2"]


@pytest.mark.parametrize("on_error", ["stop", "skip", "null"])
def test_rows_on_which_the_model_fails_are_found(tmp_path: Path, on_error: str, capsys: Any) -> None:
    columns = [np.array([[1.0], [2.0]], np.float32)] * 2
    write_release(tmp_path / "release", version=0, model=picky_regression(), columns=columns)
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("AT,V\n" + "".join(f"{9 if row in (3, 700) else row % 8},0\n" for row in range(1000)))
    status = main(["score", str(tmp_path / "release"), str(source), "--out", str(out), "--on-error", on_error])
    err = capsys.readouterr().err
    if on_error == "stop":
        assert status == 1
        assert f"{source}, row 4, " in err
        assert "the model fails" in err
        assert not list(tmp_path.glob("out*"))
        return
    assert status == 0
    faults = [json.loads(line) for line in (tmp_path / "out.csv.errors.jsonl").read_text().splitlines()]
    assert [fault["row"] for fault in faults] == [4, 701]
    values = [line.split(",")[2] for line in out.read_text().splitlines()[1:]]
    assert len(values) == (1000 if on_error == "null" else 998)
    assert [row for row, value in enumerate(values) if value == ""] == ([3, 700] if on_error == "null" else [])


def test_a_result_that_cannot_be_written_is_one_clear_line(release: Path, tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "in.csv"
    source.write_text("AT,V\n1,2\n")
    (tmp_path / "file").write_text("")
    for out, said in (
        (tmp_path / "file" / "out.csv", f"{tmp_path / 'file'} is a file, not a folder; give another place"),
        (tmp_path / "none" / "out.csv", f"there is no folder {tmp_path / 'none'}; make it first"),
        (tmp_path, "is a folder; give a file"),
        (source, "is the input; give another file"),
        (Path("/dev/null"), "is no file that could be replaced; give another"),
    ):
        told = ["--out-format", "csv"]
        assert main(["score", str(release), str(source), "--out", str(out), *told]) == 1
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    same = ["--out", str(tmp_path / "a.csv"), "--errors", str(tmp_path / "a.csv")]
    assert main(["score", str(release), str(source), *same]) == 1
    assert "is the result; give another file" in capsys.readouterr().err
    plain = ["--out", str(tmp_path / "a.csv"), "--summary"]
    for summary, said in (
        (source, "is the input; give another file"),
        (tmp_path / "a.csv", "is the result; give another file"),
        (tmp_path / "a.csv.errors.jsonl", "is the file of bad rows; give another file"),
        (tmp_path / "a.csv.part", "is the result, unfinished; give another file"),
        (tmp_path / "none" / "s.json", f"there is no folder {tmp_path / 'none'}; make it first"),
    ):
        assert main(["score", str(release), str(source), *plain, str(summary)]) == 1
        assert f"--summary {summary}" in (err := capsys.readouterr().err)
        assert said in err
    assert source.read_text() == "AT,V\n1,2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in.csv", "release"]
    for wrong in (["--batch-rows", "0"], ["--on-error", "ignore"], ["--format", "xlsx"], ["--threads", "-1"]):
        with pytest.raises(SystemExit) as left:
            main(["score", str(release), str(source), "--out", str(tmp_path / "a.csv"), *wrong])
        assert left.value.code == 2


def test_a_damaged_release_json_is_named_with_the_way_out(release: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in.csv").write_text("AT,V\n1,2\n")
    whole = (release / "release.json").read_bytes()
    for damaged in (whole[:100], b"", b"[]", b'{"v": 99}'):
        (release / "release.json").write_bytes(damaged)
        assert main(["score", str(release), str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv")]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"genba: {release / 'release.json'}: ")
        assert err.endswith("fetch the release or make the candidate again\n")
        assert err.count("\n") == 1


def test_the_summary_tells_the_drift_by_the_registrys_rule(tmp_path: Path, capsys: Any) -> None:
    release = tmp_path / "release"
    manifest = write_release(release, version=0)
    sketches = {}
    random = np.random.default_rng(0)
    for name in ("AT", "V", "prediction"):
        sketches[name] = NumericSketch()
        sketches[name].update(random.normal(20, 5, 5_000).astype(np.float32))
    numeric = {name: sketches[name].summary() for name in ("AT", "V")}
    profile = ReferenceProfile(5_000, numeric, {}, {"prediction": sketches["prediction"].summary()})
    (release / "reference").write_bytes(encode_reference(profile))
    files = manifest.files | {"reference": file_info(release / "reference")}
    (release / "release.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))
    source, told = tmp_path / "in.parquet", tmp_path / "summary.json"
    hot, same = random.normal(40, 5, 20_000), random.normal(20, 5, 20_000)
    parquet(source, AT=hot, V=[None if row % 2 else value for row, value in enumerate(same)])
    arguments = ["--out", str(tmp_path / "out.parquet"), "--summary", str(told)]
    assert main(["score", str(release), str(source), *arguments]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 inputs have drifted from what the candidate 'ccpp' learned from\n" in said
    assert "  AT: PSI " in said
    assert "missing 50% is over 10%" in said
    summary = json.loads(told.read_bytes())
    found = {feature["feature"]: feature for feature in summary["drift"]["features"]}
    assert found["AT"]["psi"] > 1 > 0.2 > found["V"]["psi"]
    assert summary["rows"] == summary["drift"]["rows"] == 20_000
    assert summary["drift"]["outputs"][0]["mean"] == pytest.approx(10 + 2 * 40 - 20 / 2, rel=0.02)


def test_of_a_long_file_an_even_sample_tells_the_drift(release: Path, tmp_path: Path) -> None:
    """Its second half lies elsewhere: a sample of its beginning would not show that."""
    source = tmp_path / "in.parquet"
    parquet(source, AT=np.repeat(np.float32([0, 10]), 200_000), V=np.zeros(400_000, np.float32))
    drift = score_file(release, source, tmp_path / "out.parquet", Options(keep=[])).drift
    assert 95_000 < drift.rows < 105_000
    assert drift.outputs[0].mean == pytest.approx(20, abs=0.1)
