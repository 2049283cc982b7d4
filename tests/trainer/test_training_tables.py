"""Tables in, and every table that cannot be used."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from trainer.class_texts import ClassTexts
from trainer.columns import type_column, type_label
from trainer.errors import ColumnNameRefusedError, EmptyTableError, TableError, TableUnreadableError
from trainer.tables import parse_table, read_table, table_digest
from trainer.targets import read_target

CSV = 'a,"b; c",d\n1,2.5,x\n2,,y\n'


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_each_format_gives_the_same_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table{ending}"
    wanted = parse_table(CSV.encode(), "x.csv")
    if ending == ".parquet":
        wanted.to_parquet(path)
    else:
        path.write_bytes(gzip.compress(CSV.encode()) if ending.endswith("gz") else CSV.encode())
    table = read_table(path)
    assert list(table.columns) == ["a", "b; c", "d"]
    assert table["a"].tolist() == [1, 2]
    assert np.isnan(table["b; c"][1])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_seen(separator: str) -> None:
    table = parse_table(f"a{separator}b\n1{separator}2\n".encode(), "x.csv")
    assert list(table.columns) == ["a", "b"]


def test_a_blob_is_read_by_the_name_of_its_data(tmp_path: Path) -> None:
    blob = tmp_path / "0123abcd"
    blob.write_bytes(gzip.compress(CSV.encode()))
    assert len(read_table(blob, name="plant.csv.gz")) == 2


@pytest.mark.parametrize(
    ("data", "name", "error", "says"),
    [
        (b"", "x.csv", EmptyTableError, "empty file"),
        (b"\n\n", "x.csv", EmptyTableError, "x.csv has no rows"),
        (b"a,b\n", "x.csv", EmptyTableError, "x.csv has no rows"),
        (b"a,b\n1,2,3\n1,2\n4,5,6,7\n", "x.csv", TableUnreadableError, "not a CSV table"),
        (b"a,b\n1,2\n3,4,5\n", "x.csv", TableUnreadableError, "row 2 (line 3) has 3 cells, and the header has 2"),
        (b"a,b\n\n1,2\n3\n", "x.csv", TableUnreadableError, "row 2 (line 4) has 1 cells, and the header has 2"),
        (b"a,b\n1,2,\n3,4,\n", "x.csv", TableUnreadableError, "row 1 (line 2) has 3 cells"),
        (b"a,b\r\n1,2\r,1\r\n3\r\n", "x.csv", TableUnreadableError, "row 3 (line 4) has 1 cells"),
        (b"not gzip", "x.csv.gz", TableUnreadableError, "not a gzip file"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "x.csv.gz", TableUnreadableError, "not a gzip file"),
        (b"PAR1", "x.parquet", TableUnreadableError, "not a Parquet file"),
        (b"\x00\x01\x02,b\n", "x.csv", TableUnreadableError, "not text"),
        (b"a", "x.xlsx", TableUnreadableError, ".xlsx"),
    ],
)
def test_what_is_no_table_is_one_clear_line(data: bytes, name: str, error: type[TableError], says: str) -> None:
    with pytest.raises(error) as caught:
        parse_table(data, name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_cells_and_empty_lines_are_no_ragged_rows() -> None:
    table = parse_table(b'a,"b\nc"\n1,\n\n  \n"2",x\n', "x.csv")
    assert table["a"].tolist() == [1, 2]
    assert len(parse_table(b"a\n1\n\n2\n", "x.csv")) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadableError, match="does not exist"):
        read_table(tmp_path / "none.csv")


def test_a_name_over_two_columns_is_refused(tmp_path: Path) -> None:
    pd.DataFrame([[1, 2]], columns=["a", "b"]).to_csv(tmp_path / "t.csv", index=False)
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    from trainer.tables import check_shape

    with pytest.raises(ColumnNameRefusedError, match="'a' twice"):
        check_shape(twice, "the table")


@pytest.mark.parametrize("long", [False, True], ids=["at once", "in batches"])
def test_a_name_over_two_columns_of_parquet_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    if long:
        monkeypatch.setattr("trainer.long_tables.AT_ONCE_BYTES", 0)
    twice = pa.Table.from_arrays([pa.array([1, 2]), pa.array([3.0, 4.0]), pa.array(["x", "y"])], names=["a", "b", "a"])
    pyarrow.parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(ColumnNameRefusedError, match=r"^t\.parquet has the column 'a' twice: rename one of them$"):
        read_table(tmp_path / "t.parquet")


def test_mostly_numbers_is_a_number_column_and_its_text_is_missing() -> None:
    column = type_column("x", pd.Series(["1", "2.5", "error", "4", None]))
    assert column.kind == "number"
    assert column.values.dtype == np.float32
    assert column.missing.tolist() == [False, False, True, False, True]
    assert (column.mixed, column.examples) == (1, ("error",))


def test_mostly_text_is_a_category_column() -> None:
    column = type_column("x", pd.Series(["a", "b", "3", None]))
    assert column.kind == "category"
    assert column.values.tolist() == ["a", "b", "3", ""]
    assert column.mixed == 1


def test_infinite_and_too_large_numbers_are_missing() -> None:
    column = type_column("x", pd.Series([1.0, np.inf, 1e300, -np.inf]))
    assert column.missing.tolist() == [False, True, True, True]
    assert column.infinite == 3


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-31", "2024-02-01"],
        ["2024-01-31T10:15:00Z", "2024-01-31 10:16:00.250+01:00"],
        ["20240131T101500Z", "20240131T1016"],
        ["31.01.2024 10:15", "1.2.2024 9:05"],
        ["1/31/24 10:15 AM", "2/1/24 9:05 PM"],
        ["31-Jan-2024", "Feb 1, 2024"],
        ["2024年1月31日", "2024年2月1日 10:15"],
        ["2024-01-31", None],
    ],
)
def test_texts_that_are_dates_are_times(texts: list[str | None]) -> None:
    assert type_column("x", pd.Series(texts)).kind == "time"


@pytest.mark.parametrize(
    "texts",
    [
        ["06:00", "14:00", "22:00"],  # a shift comes again
        ["1.2.10", "1.2.11"],  # a version
        ["2024-01-31-A7", "2024-02-01-B1"],  # a batch
        ["2024-13-01", "2024-99-99"],  # an article
        ["may", "june"],
        ["2024-01-31", "cold start", "warm start"],
    ],
)
def test_texts_that_only_look_like_dates_stay_categories(texts: list[str]) -> None:
    assert type_column("x", pd.Series(texts)).kind == "category"


BOOLEANS = {
    "bool": pd.Series([True, False, True]),
    "nullable": pd.Series([True, False, None, True], dtype="boolean"),
    "objects": pd.Series([True, False, None, True], dtype=object),
    "categories": pd.Series([True, False, None, True], dtype="category"),
    "texts in any case": pd.Series(["TRUE", " false", None, "tRue"]),
    "texts and an empty one": pd.Series(["true", "False", "", "true"]),
    "one of them": pd.Series(["true", None, None]),
    "CSV": parse_table(b"x,y\ntrue,1\nFALSE,2\n,3\nTrue,4\n", "x.csv")["x"],
}


@pytest.mark.parametrize("said", BOOLEANS)
def test_booleans_are_the_numbers_one_and_zero_with_missing_values_too(said: str) -> None:
    column = type_column("x", BOOLEANS[said])
    assert (column.kind, column.mixed, column.integral) == ("number", 0, True)
    wanted = {"bool": [1, 0, 1], "one of them": [1, np.nan, np.nan]}.get(said, [1, 0, np.nan, 1])
    np.testing.assert_array_equal(column.values, np.float32(wanted))


@pytest.mark.parametrize(
    "others", [["yes", "no"], ["true", "false", "unknown"], ["truely"], [" ", "true"], [None, None]]
)
def test_other_texts_beside_true_and_false_are_categories(others: list[str | None]) -> None:
    assert type_column("x", pd.Series(others, dtype=object)).kind == "category"


@pytest.mark.parametrize("said", BOOLEANS)
def test_of_a_target_they_are_words(said: str) -> None:
    series = BOOLEANS[said]
    column = type_label("x", series)
    assert column.kind == "category"
    assert column.values.tolist() == ["" if pd.isna(value) else str(value) for value in series]


@pytest.mark.parametrize("said", ["bool", "nullable", "CSV"])
def test_their_classes_are_words(said: str) -> None:
    series = pd.concat([BOOLEANS[said]] * 20, ignore_index=True)
    target = read_target("x", series, None)
    assert target.classes == ("False", "True")
    assert target.values[:2].tolist() == ["True", "False"]
    assert target.unlabelled == int(series.isna().sum())
    assert ClassTexts(np.array([False, True])).places(["True", "False"]).tolist() == [1, 0]


def test_times_are_times() -> None:
    assert type_column("x", pd.Series(pd.to_datetime(["2024-01-01"]))).kind == "time"


def test_equal_tables_have_equal_digests(plant: pd.DataFrame) -> None:
    changed = plant.copy()
    changed.loc[3, "wear"] = 1.5
    assert table_digest(plant) == table_digest(plant.copy()) != table_digest(changed)
