"""Tables that are too long to be held: the rows that are kept, and the memory that reading takes."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from trainer import long_tables, row_sample
from trainer.errors import ColumnNameRefusedError, TableUnreadableError
from trainer.guardrails.check import check_table
from trainer.row_sample import CLASS_ROWS, ROWS_IN_FILE, Draw
from trainer.tables import parse_table, read_table

ROWS = 60_000


@pytest.fixture
def in_batches(monkeypatch):
    """Every file is read in batches, and small ones."""
    monkeypatch.setattr(long_tables, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(long_tables, "AT_ONCE_GZIP_BYTES", 0)
    monkeypatch.setattr(long_tables, "_BLOCK_BYTES", 50_000)
    monkeypatch.setattr(long_tables, "_BATCH_ROWS", 1_000)


@pytest.fixture
def short(monkeypatch, in_batches):
    """10,000 rows are kept."""
    monkeypatch.setattr(row_sample, "MOST_ROWS", 10_000)


def plant(rows: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(0)
    fault = np.where(random.random(rows) < 0.1, "bad", "good").astype(object)
    fault[random.choice(rows, 150, replace=False)] = "burst"
    fault[[5, rows // 2, rows - 1]] = "once or twice"
    return pd.DataFrame(
        {"number": np.arange(rows), "heat": random.normal(size=rows), "code, cut": "a;b", "fault": fault}
    )


def written(table: pd.DataFrame, folder: Path, ending: str) -> Path:
    path = folder / f"table{ending}"
    if ending == ".parquet":
        table.to_parquet(path, row_group_size=7_000)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_sample_has_its_size_its_order_and_every_rare_row(short, tmp_path, ending):
    path = written(plant(), tmp_path, ending)
    table = read_table(path, target="fault")
    counts = table["fault"].value_counts()
    assert table.attrs[ROWS_IN_FILE] == ROWS
    assert 10_000 <= len(table) < 10_000 + 2 * CLASS_ROWS
    assert (counts["burst"], counts["once or twice"]) == ((plant()["fault"] == "burst").sum(), 3)
    assert counts["bad"] / counts["good"] == pytest.approx(1 / 9, rel=0.1)
    assert table["number"].is_monotonic_increasing
    assert table["number"].mean() == pytest.approx(ROWS / 2, rel=0.02)
    pd.testing.assert_frame_equal(table, read_table(path, target="fault"))


def test_each_format_keeps_the_same_rows(short, tmp_path):
    found = [
        read_table(written(plant(), tmp_path, ending), target="fault") for ending in (".csv", ".csv.gz", ".parquet")
    ]
    direct = row_sample.shortened(plant(), "fault")
    for table in found:
        assert table["number"].tolist() == direct["number"].tolist()
    pd.testing.assert_frame_equal(found[0], found[1])


@pytest.mark.parametrize(
    "data",
    [
        b'a,"b; c",d\n1,2.5,x\n2,,y\n007,-inf,"say ""no"""\n',
        b'\xef\xbb\xbfa;b\n1,5;"two\nlines"\n\n2,5;;\n'.replace(b";;", b";"),
        "a|grün\n1|ü\n2|é\n".encode("cp1252"),
        b"a,b\nNA,true\n1e3,false\n",
        b",x\n1,2\n3,4\n",
        b"a,b\r\n1,2\r\n3,4\r\n",
    ],
)
def test_what_is_read_in_batches_is_what_is_read_at_once(in_batches, tmp_path, data):
    (tmp_path / "x.csv").write_bytes(data)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(data))
    wanted = parse_table(data, "x.csv")
    for name in ("x.csv", "x.csv.gz"):
        table = read_table(tmp_path / name)
        pd.testing.assert_frame_equal(table, wanted)
        assert ROWS_IN_FILE not in table.attrs


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"a,b\n1,2\n3,4,5\n", TableUnreadableError, "row 2 (line 3) has 3 cells, and the header has 2"),
        (b"a,b\n\n1,2\n3\n", TableUnreadableError, "row 2 (line 4) has 1 cells, and the header has 2"),
        (b"a,b,a\n1,2,3\n", ColumnNameRefusedError, "'a' twice"),
        (b"\x00\x01\x02,b\n", TableUnreadableError, "not text"),
        (b"a\n", None, "has no rows"),
        (b"\n\n", None, "has no rows"),
    ],
)
def test_what_is_no_table_is_the_same_clear_line(in_batches, tmp_path, data, error, says):
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(error or Exception) as caught:
        read_table(tmp_path / "x.csv")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_small_file_of_many_rows_is_long(tmp_path):
    path, rows = tmp_path / "flat.parquet", 600_000
    columns = {f"s{number}": np.zeros(rows, dtype=np.int8) for number in range(8)}
    pyarrow.parquet.write_table(pa.table(columns), path)
    assert path.stat().st_size < 100_000
    assert long_tables.is_long(path, "flat.parquet")
    assert not long_tables.is_long(path, "flat.csv")
    pyarrow.parquet.write_table(pa.table(columns).slice(0, 500_000), path)
    assert not long_tables.is_long(path, "flat.parquet")
    path.write_bytes(b"no footer")
    assert not long_tables.is_long(path, "flat.parquet")


def test_a_broken_large_file_is_one_clear_line(in_batches, tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)[:-20])
    (tmp_path / "x.parquet").write_bytes(b"PAR1" * 10)
    for name, says in (("x.csv.gz", "not a gzip file"), ("x.parquet", "not a Parquet file")):
        with pytest.raises(TableUnreadableError, match=says):
            read_table(tmp_path / name)


def test_a_blob_without_an_ending_is_read_in_batches_too(short, tmp_path):
    path = written(plant(), tmp_path, ".parquet").rename(tmp_path / "0123abcd")
    assert read_table(path, name="plant.parquet", target="fault").attrs[ROWS_IN_FILE] == ROWS


def test_categories_of_several_batches_are_joined(short, tmp_path):
    table = plant().assign(grade=pd.Categorical(np.arange(ROWS) // 5_000))
    found = read_table(written(table, tmp_path, ".parquet"), target="fault")
    assert sorted(found["grade"].astype(int).unique()) == list(range(12))


def test_rows_with_a_target_come_before_those_without(short, tmp_path):
    table = plant()
    table["heat"] = table["heat"].where(np.arange(ROWS) % 20 == 0)
    for ending in (".csv", ".parquet"):
        found = read_table(written(table, tmp_path, ending), target="heat")
        assert len(found) == 10_000
        assert found["heat"].notna().sum() == ROWS // 20
    assert row_sample.shortened(table, "heat")["heat"].notna().sum() == ROWS // 20


def test_a_long_table_is_told(short, tmp_path):
    table = read_table(written(plant(), tmp_path, ".csv"), target="fault")
    for checked in (check_table(table, "fault", None), check_table(plant(), "fault", None)):
        rail = next(one for one in checked.guardrails if one.check == "long table")
        assert rail.state == "done"
        assert rail.seen == (f"{ROWS} rows of 4 columns are more than are held in memory",)
        assert f"drew {len(table)} of them" in rail.done
    whole_table = plant()
    assert (whole_table["fault"].iloc[checked.target.rows].to_numpy() == checked.target.values).all()
    whole = check_table(plant(5_000), "fault", None)
    assert "long table" not in {one.check for one in whole.guardrails}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_fewer_rows_are_kept_where_that_is_asked_for(in_batches, tmp_path, ending):
    found = read_table(written(plant(), tmp_path, ending), target="heat", rows=2_000)
    assert len(found) == 2_000
    assert row_sample.shortened(plant(), "heat", 2_000)["number"].tolist() == found["number"].tolist()


def test_a_draw_does_not_depend_on_the_size_of_batches():
    def drawn(size: int) -> list[int]:
        draw, held = Draw(500), np.zeros(0, dtype=int)
        for start in range(0, 10_000, size):
            rows = np.arange(start, min(start + size, 10_000))
            held = np.concatenate([held, rows[draw.take(len(rows), rows % 7 // 6)]])
            if draw.full:
                held = held[draw.thin()]
        return held[draw.thin()].tolist()

    assert drawn(100) == drawn(3_333) == drawn(10_000)


def test_wide_tables_keep_fewer_rows():
    assert row_sample.most_rows(10) == 1_000_000
    assert row_sample.most_rows(500) == 100_000
    assert row_sample.most_rows(50_000) == 10_000


#: Reads and checks a table; prints how much memory that took at its peak, in MB.
PEAK = """
import resource, sys
from pathlib import Path
from trainer.guardrails.check import check_table
from trainer.tables import read_table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = read_table(Path(sys.argv[1]), target="fault")
check_table(table, "fault", None)
print(len(table), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.parametrize(("ending", "digits", "sensors"), [(".csv", 2, 6), (".parquet", 2, 6), (".parquet", -1, 12)])
def test_five_million_rows_are_read_and_checked_in_capped_memory(tmp_path, root, ending, digits, sensors):
    rows, random = 5_000_000, np.random.default_rng(0)
    columns = {f"s{number}": np.round(random.normal(50, 10, rows), digits) for number in range(sensors)}
    columns["fault"] = np.where(columns["s0"] + random.normal(0, 5, rows) > 65, "bad", "good")
    write = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}[ending]
    write(pa.table(columns), tmp_path / f"long{ending}")
    assert ((tmp_path / f"long{ending}").stat().st_size < long_tables.AT_ONCE_BYTES) == (digits < 0)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / f"long{ending}"], capture_output=True, text=True, check=True, cwd=root
    )
    kept, megabytes = map(int, done.stdout.split())
    assert kept == 1_000_000
    assert megabytes < 700
