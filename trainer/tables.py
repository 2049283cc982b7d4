"""Tables in: CSV, compressed CSV and Parquet files to a pandas DataFrame, and the digest of what was read."""

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.errors import ColumnNameRefusedError, EmptyTableError, TableUnreadableError

CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
#: Separators that are told apart, the likeliest first.
_SEPARATORS = (",", ";", "\t", "|")


def read_table(path: Path | str, *, name: str | None = None) -> pd.DataFrame:
    """Read a table, columns named as in the file, values as pandas infers them.

    Args:
        path: a CSV (`,`, `;`, tab or `|`, optionally gzip) or Parquet file; the ending decides.
        name: whose ending decides, for a blob without one.

    Raises:
        TableUnreadableError: no such file, not a table, or a format we do not read.
        EmptyTableError: it has no rows or no columns.
        ColumnNameRefusedError: a name stands over two columns.
    """
    path = Path(path)
    shown = name or path.name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TableUnreadableError(f"{path} does not exist; give a CSV, CSV.gz or Parquet file") from None
    except IsADirectoryError:
        raise TableUnreadableError(f"{path} is a folder; give a CSV, CSV.gz or Parquet file in it") from None
    except OSError as error:
        raise TableUnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_table(data, shown)


def parse_table(data: bytes, name: str) -> pd.DataFrame:
    """Read a table from bytes; `name` ends as its file would. Raises what `read_table` raises."""
    if not data:
        raise EmptyTableError(name, "rows: it is an empty file")
    lower = name.lower()
    if lower.endswith(PARQUET_ENDINGS):
        table = _parse_parquet(data, name)
    elif lower.endswith(CSV_ENDINGS):
        table = _parse_csv(data, name)
    else:
        raise TableUnreadableError(
            f"{name} ends in {Path(name).suffix!r}, which is not read; give one of "
            f"{', '.join(CSV_ENDINGS + PARQUET_ENDINGS)}"
        )
    return check_shape(table, name)


def check_shape(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table with text column names and a plain index.

    Raises:
        EmptyTableError: it has no rows or no columns.
        ColumnNameRefusedError: a name stands over two columns.
    """
    if not len(table.columns):
        raise EmptyTableError(name, "columns")
    if not len(table):
        raise EmptyTableError(name)
    columns = [str(column) for column in table.columns]
    _check_unique(columns, name)
    return table.set_axis(columns, axis=1).reset_index(drop=True)


def _check_unique(columns: Sequence[str], name: str) -> None:
    twice = next((column for column, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        raise ColumnNameRefusedError(f"{name} has the column {twice!r} twice: rename one of them")


def file_digest(path: Path | str) -> str:
    """Return the SHA-256 of a file, as hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table_digest(table: pd.DataFrame) -> str:
    """Return a SHA-256 over names and values of a table that came without a file, as hex."""
    digest = hashlib.sha256()
    for column in table.columns:
        digest.update(str(column).encode() + b"\x00")
        digest.update(pd.util.hash_pandas_object(table[column].astype(str), index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _parse_parquet(data: bytes, name: str) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pq.read_table(pa.BufferReader(data)).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableUnreadableError(f"{name} is not a Parquet file: {_first_line(error)}") from error
    return table


def _parse_csv(data: bytes, name: str) -> pd.DataFrame:
    text = _decode(_decompress(data, name), name)
    header = text.partition("\n")[0]
    if not text.strip():
        raise EmptyTableError(name, "rows: it is an empty file")
    if "\x00" in text[:4096]:
        raise TableUnreadableError(f"{name} is not text: it has zero bytes; give a CSV or a Parquet file")
    separator = max(_SEPARATORS, key=lambda sign: len(next(csv.reader([header], delimiter=sign))))
    # As the file has them: pandas would call the second of two `x` columns `x.1`.
    _check_unique([name_ for name_ in next(csv.reader(io.StringIO(text), delimiter=separator), []) if name_], name)
    try:
        # One pass over whole columns: chunked inference would give one column two types.
        table = pd.read_csv(io.StringIO(text), sep=separator, low_memory=False)
    except pd.errors.EmptyDataError:
        raise EmptyTableError(name) from None
    except (pd.errors.ParserError, ValueError) as error:
        _check_even(text, separator, name)
        raise TableUnreadableError(f"{name} is not a CSV table: {_first_line(error)}") from error
    # A short row lacks its last value; a long first row makes an index of the first column.
    if len(table) and (table.iloc[:, -1].isna().any() or not isinstance(table.index, pd.RangeIndex)):
        _check_even(text, separator, name)
    return table


def _check_even(text: str, separator: str, name: str) -> None:
    """Refuse rows with more or fewer cells than the header: their values could stand in the wrong columns."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        filled = (cells for cells in reader if len(cells) > 1 or "".join(cells).strip())
        wanted = len(next(filled, []))
        for place, cells in enumerate(filled, 1):
            if len(cells) != wanted:
                raise TableUnreadableError(
                    f"{name} is not a CSV table: row {place} (line {reader.line_num}) has {len(cells)} cells, and the "
                    f"header has {wanted}: mend that line, or take it out"
                )
    except csv.Error:
        return  # a cell that only pandas reads


def _decompress(data: bytes, name: str) -> bytes:
    if not name.lower().endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise TableUnreadableError(f"{name} is not a gzip file: {_first_line(error)}") from error


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")  # what older spreadsheets write
    except UnicodeDecodeError as error:
        raise TableUnreadableError(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
