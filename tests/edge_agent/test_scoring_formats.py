"""Forms of tables in and out of `genba score`: the same rows whatever the form, what is kept as it stood."""

import contextlib
import decimal
import gzip
import json
import sqlite3
import subprocess
import sys
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
from edge_agent.scoring.formats import OUT_FORMS, first_rows, form_of
from edge_agent.scoring.sources import Batch, LostRow
from genba import main

ROWS: list[dict[str, Any]] = [
    {"id": "007", "AT": 1.5, "V": 2, "note": "plain"},
    {"id": "008", "AT": None, "V": 3, "note": 'b, "c"\nd'},
    {"id": "009", "AT": 4.0, "V": 4, "note": None},
    {"id": "010", "AT": -2.0, "V": 0, "note": "größer ✓"},
]
PREDICTED = [11.0, 7.0, 14.0, 6.0]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path / "release", version=0)
    return tmp_path / "release"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE readings (id, AT, V, note)")
            connection.executemany("INSERT INTO readings VALUES (?, ?, ?, ?)", [tuple(row.values()) for row in rows])
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM predictions ORDER BY rowid")]
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    options = pyarrow.csv.ConvertOptions(column_types={"id": pa.string()}, strings_can_be_null=True)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options).to_pylist()
    return list(found)


@pytest.mark.parametrize("out_form", OUT_FORMS)
@pytest.mark.parametrize("form", OUT_FORMS)
def test_every_form_becomes_every_other(release: Path, tmp_path: Path, form: str, out_form: str) -> None:
    source, out = write_rows(tmp_path / f"in.{form}", ROWS), tmp_path / f"out.{out_form}"
    assert score_file(release, source, out, Options(batch_rows=3)).written == 4
    rows = read_rows(out)
    nothing = ["", None] if form == "csv" else [None]  # a CSV does not tell them apart
    for row, wanted, value in zip(rows, ROWS, PREDICTED, strict=True):
        assert list(row) == ["id", "AT", "V", "note", "prediction"]
        assert (row["id"], row["AT"], row["V"], row["prediction"]) == (wanted["id"], wanted["AT"], wanted["V"], value)
        assert row["note"] == wanted["note"] or (wanted["note"] is None and row["note"] in nothing)


@pytest.mark.parametrize("out_form", OUT_FORMS)
@pytest.mark.parametrize("form", ["csv", "parquet", "sqlite"])
def test_a_table_of_no_rows_becomes_one(release: Path, tmp_path: Path, form: str, out_form: str) -> None:
    source, out = tmp_path / f"in.{form}", tmp_path / f"out.{out_form}"
    if form == "csv":
        source.write_text("id,AT,V,note\n")
    elif form == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), source)
    else:
        write_rows(source, [])
    assert score_file(release, source, out).written == 0
    assert read_rows(out) == []
    if out_form == "csv":
        assert out.read_text() == "id,AT,V,note,prediction\n"


def test_the_form_may_be_told_where_the_name_does_not_say_it(release: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.csv", ROWS).rename(tmp_path / "readings.txt")
    out = tmp_path / "answers"
    told = ["--format", "csv", "--out-format", "jsonl"]
    assert main(["score", str(release), str(source), "--out", str(out), *told]) == 0
    assert [json.loads(line)["prediction"] for line in out.read_text().splitlines()] == PREDICTED
    with pytest.raises(ScoreError, match=r"does not say what it is; .* or --out-format"):
        form_of(out, None, "--out-format")


def test_a_sparse_keep_reads_only_what_is_needed(release: Path, tmp_path: Path) -> None:
    for form in OUT_FORMS:
        out = tmp_path / f"none.{form}"
        score_file(release, write_rows(tmp_path / f"in.{form}", ROWS), out, Options(keep=[]))
        assert [row["prediction"] for row in read_rows(out)] == PREDICTED
        assert list(read_rows(out)[0]) == ["prediction"]


def test_json_is_kept_to_the_letter(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(
        '{"AT": 1.50, "V": 2e0, "big": 123456789012345678901234567890, "deep": {"a": [1, null]}, "t": "\\u00e9"}\n'
        '\n{"V": 3, "AT": 4, "t": null}\n'
    )
    score_file(release, source, out)
    assert out.read_text() == (
        '{"AT":1.50,"V":2e0,"big":123456789012345678901234567890,"deep":{"a": [1, null]},"t":"\\u00e9",'
        '"prediction":11}\n{"AT":4,"V":3,"big":null,"deep":null,"t":null,"prediction":15}\n'
    )


def test_json_becomes_columns_with_types(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    rows: list[dict[str, Any]] = [
        {"AT": 1, "V": 2, "count": 1, "share": 1, "ok": True, "mixed": 1, "deep": [1], "none": None, "key": "007"},
        {"AT": 1.5, "V": 2, "count": None, "share": 0.5, "ok": None, "mixed": "x", "deep": [2], "none": None},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(release, source, out, Options(batch_rows=1))
    table = pyarrow.parquet.read_table(out)
    assert {field.name: str(field.type) for field in table.schema} == {
        "AT": "double", "V": "double", "count": "int64", "share": "double", "ok": "bool", "mixed": "string",
        "deep": "string", "none": "string", "key": "string", "prediction": "float",
    }  # fmt: skip
    assert table.to_pylist()[0] | {"prediction": 0} == {
        "AT": 1.0, "V": 2.0, "count": 1, "share": 1.0, "ok": True, "mixed": "1", "deep": "[1]", "none": None,
        "key": "007", "prediction": 0,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_true_and_false_are_kept_as_written_and_are_numbers_where_the_result_has_types(
    release: Path, tmp_path: Path, form: str
) -> None:
    source = tmp_path / f"in.{form}"
    said = [(True, 0), (False, 1), (None, 2)]
    if form == "csv":
        source.write_text("AT,V\nTrue,0\nfalse,1\n,2\n")
    else:
        source.write_text("".join(json.dumps({"AT": at, "V": v}) + "\n" for at, v in said))
    score_file(release, source, tmp_path / "out.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.to_pydict() == {"AT": [1.0, 0.0, None], "V": [0.0, 1.0, 2.0], "prediction": [12.0, 9.0, 8.0]}
    score_file(release, source, tmp_path / f"out.{form}")
    kept = (tmp_path / f"out.{form}").read_text().splitlines()
    assert kept[-3].startswith("True,0," if form == "csv" else '{"AT":true,"V":0,')


TYPED = {
    "AT": pa.array([1, 2, None], pa.int16()),
    "V": pa.array([decimal.Decimal("2.50"), None, decimal.Decimal("-1.00")], pa.decimal128(9, 2)),
    "when": pa.array([1767323045000000, None, 1767225600000000], pa.timestamp("us")),
    "flag": pa.array([True, False, None]),
    "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
    "raw": pa.array([b"\x00\xff", None, b""], pa.binary()),
    "list": pa.array([[1, 2], [], None], pa.list_(pa.int8())),
    "whole": pa.array([2**64 - 1, 0, None], pa.uint64()),
}


def test_types_of_parquet_are_kept(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pyarrow.parquet.write_table(pa.table(TYPED), source)
    score_file(release, source, out)
    table = pyarrow.parquet.read_table(out)
    assert table.drop_columns(["prediction"]).equals(pa.table(TYPED))
    assert table["prediction"].to_pylist() == [9.5, 14.0, 11.0]


def test_types_of_parquet_as_text(release: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(pa.table(TYPED), source)
    for form in ("csv", "jsonl", "sqlite"):
        score_file(release, source, tmp_path / f"out.{form}")
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == [
        '1,2.50,2026-01-02 03:04:05.000000,true,a,"""AP8=""","[1,2]",18446744073709551615,9.5',
        "2,,,false,b,,[],0,14",
        ',-1.00,2026-01-01 00:00:00.000000,,a,"""""",,,11',
    ]
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert (first["V"], first["when"], first["flag"]) == ("2.50", "2026-01-02T03:04:05", True)
    assert (first["list"], first["whole"]) == ([1, 2], 2**64 - 1)
    row = read_rows(tmp_path / "out.sqlite")[0]
    assert (row["V"], row["flag"], row["kind"], row["raw"], row["list"]) == ("2.50", 1, "a", b"\x00\xff", "[1,2]")


def test_a_result_in_sqlite_has_columns_with_types(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.sqlite"
    score_file(release, write_rows(tmp_path / "in.csv", ROWS), out)
    with contextlib.closing(sqlite3.connect(out)) as connection:
        columns = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(predictions)")}
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert columns == {"id": "TEXT", "AT": "REAL", "V": "REAL", "note": "TEXT", "prediction": "REAL"}
    assert tables == ["predictions"]


def test_a_table_of_sqlite_is_named_and_read_in_the_order_of_its_rows(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.db", tmp_path / "out.csv"
    with contextlib.closing(sqlite3.connect(source)) as connection, connection:
        connection.execute('CREATE TABLE "odd ""name" (id INTEGER, "AT" TEXT, V BLOB)')
        connection.execute("CREATE TABLE other (x)")
        connection.executemany('INSERT INTO "odd ""name" (rowid, id, "AT", V) VALUES (?, ?, ?, ?)', [
            (30, 3, "1.5", 1), (10, 1, 2, 2.5), (20, 2, None, "3"),
        ])  # fmt: skip
    score_file(release, source, out, Options(table='odd "name'))
    assert out.read_text().splitlines() == ["id,AT,V,prediction", "1,2,2.5,11.5", "2,,3,7", "3,1.5,1,12"]
    with pytest.raises(ScoreError, match="name one with --table"):
        score_file(release, source, out)
    with pytest.raises(ScoreError, match=r"--table 'x': .* has no such table; it has 'odd \"name', 'other'"):
        score_file(release, source, out, Options(table="x"))
    with pytest.raises(ScoreError, match=r"--table 'x': .* is no SQLite database"):
        score_file(release, write_rows(tmp_path / "in.csv", ROWS), out, Options(table="x"))


@pytest.mark.parametrize(
    ("columns", "primary"),
    [
        ("AT, V, note", ""),
        ("rowid, AT, V", ""),
        ("AT, V, note, rowid, _rowid_, oid, id INTEGER PRIMARY KEY", ""),
        ("note, id, AT, V, PRIMARY KEY (id, note)", " WITHOUT ROWID"),
    ],
)
@pytest.mark.parametrize("keep", [None, ["AT"]])
def test_an_index_that_has_all_columns_changes_no_order(
    release: Path, tmp_path: Path, columns: str, primary: str, keep: list[str] | None
) -> None:
    source, out = tmp_path / "in.db", tmp_path / "out.csv"
    with contextlib.closing(sqlite3.connect(source)) as connection, connection:
        connection.execute(f"CREATE TABLE readings ({columns}){primary}")
        named, place = ("id, note, ", "?1, '', ") if primary else ("", "")
        connection.executemany(
            f"INSERT INTO readings ({named}AT, V) VALUES ({place}?2, 0)",  # noqa: S608 - of this test
            [(row, at) for row, at in enumerate([3, 1, 2])],
        )
        connection.execute("CREATE INDEX quick ON readings (AT, V)")
        connection.execute("CREATE VIEW backwards AS SELECT AT, V FROM readings ORDER BY AT DESC")
    score_file(release, source, out, Options(table="readings", keep=keep, batch_rows=2))
    assert [row["AT"] for row in read_rows(out)] == [3, 1, 2]
    score_file(release, source, tmp_path / "view.csv", Options(table="backwards"))
    assert [row["AT"] for row in read_rows(tmp_path / "view.csv")] == [3, 2, 1]


def test_a_column_that_sqlite_does_not_tell_apart_is_named(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.sqlite"
    source.write_text("AT,V,at\n1,2,3\n")
    with pytest.raises(ScoreError, match="does not tell the column 'at' from 'AT'"):
        score_file(release, source, out)
    assert not list(tmp_path.glob("out*"))
    score_file(release, source, out, Options(keep=["AT"]))


def test_categories_come_out_of_every_form(tmp_path: Path) -> None:
    write_release(tmp_path / "release", version=0, model=classification())
    rows = [{"AT": 4.0, "kind": "a"}, {"AT": -4.0, "kind": "b"}, {"AT": 0.5, "kind": None}]
    found = []
    for form in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"{form}.jsonl"
        score_file(tmp_path / "release", write_rows(tmp_path / f"in.{form}", rows), out)
        found.append([json.loads(line) for line in out.read_text().splitlines()])
    assert [row["prediction"] for row in found[0]] == ["high", "low", "high"]
    names = ("prediction", "probability_low", "probability_mid", "probability_high")
    assert len({json.dumps([[row[name] for name in names] for row in rows]) for rows in found}) == 1


def test_row_groups_are_large_though_batches_are_small(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    values = np.arange(150_000, dtype=np.float32)
    pyarrow.parquet.write_table(pa.table({"AT": values, "V": values}), source)
    score_file(release, source, out, Options(batch_rows=1_000))
    metadata = pyarrow.parquet.read_metadata(out)
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [66_000, 66_000, 18_000]
    np.testing.assert_array_equal(pyarrow.parquet.read_table(out)["prediction"], 10 + values)


def test_gzip_is_read_and_written_by_anything(release: Path, tmp_path: Path) -> None:
    packed = tmp_path / "in.csv.gz"
    packed.write_bytes(gzip.compress(b"AT,V\n1,2\n") + gzip.compress(b"3,4\n"))
    out = tmp_path / "out.jsonl.gz"
    score_file(release, packed, out, Options(checkpoint_s=0.0, batch_rows=1))
    assert [json.loads(line)["prediction"] for line in gzip.decompress(out.read_bytes()).splitlines()] == [10, 12]


def test_nothing_is_asked_of_a_network(release: Path, tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "in.csv", ROWS), tmp_path / "out.csv"
    cut = "import socket\ndef refuse(*_, **__): raise SystemExit('a network was asked for')\n"
    cut += "".join(
        f"socket.{name} = refuse\n" for name in ("socket.connect", "socket.connect_ex", "socket.sendto", "getaddrinfo")
    )
    code = cut + "import sys, genba; sys.exit(genba.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "score", str(release), str(source), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert len(read_rows(out)) == 4


def test_tabs_stay_tabs(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("AT\tV\tnote\n1\t2\ta,b\n3\t4\tc\n")
    score_file(release, source, out)
    assert out.read_text() == "AT\tV\tnote\tprediction\n1\t2\ta,b\t10\n3\t4\tc\t12\n"


def test_the_first_rows_of_a_table_are_values(tmp_path: Path) -> None:
    assert first_rows(write_rows(tmp_path / "in.jsonl", ROWS), 2) == ROWS[:2]
    assert first_rows(write_rows(tmp_path / "in.parquet", ROWS), 9) == ROWS
    assert first_rows(write_rows(tmp_path / "in.csv", ROWS), 1) == [
        {"id": "007", "AT": "1.5", "V": "2", "note": "plain"}
    ]


def test_what_comes_after_a_row_of_a_batch() -> None:
    """Rows 11 to 15 of a source, of which 12 and 14 could not be read."""
    lost = [LostRow(12, "", ""), LostRow(14, "", "")]
    batch = Batch(10, pa.table({"x": [11, 13, 15]}), lost)
    assert (batch.rows, batch.numbers.tolist()) == (5, [11, 13, 15])
    for done, rows in ((10, [11, 13, 15]), (11, [13, 15]), (12, [13, 15]), (13, [15]), (14, [15]), (15, [])):
        rest = batch.after(done)
        assert (rest.first, rest.table["x"].to_pylist(), rest.numbers.tolist()) == (done, rows, rows)
        assert rest.rows == 15 - done
