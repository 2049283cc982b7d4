"""Tables in: CSV, compressed CSV and Parquet files to a pandas DataFrame, and the digest of what was read."""

import contextlib
import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.errors import ColumnNameRefusedError, EmptyTableError, TableUnreadableError
from trainer.long_tables import PARQUET_ENDINGS, is_long, open_text, read_long_csv, read_long_parquet
from trainer.row_sample import ROWS_IN_FILE, shortened

CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
#: Separators that are told apart, the likeliest first.
_SEPARATORS = (",", ";", "\t", "|")


def read_table(
    path: Path | str, *, name: str | None = None, target: str | None = None, rows: int | None = None
) -> pd.DataFrame:
    """Read a table, columns named as in the file, values as pandas infers them.

    Of a table that is too long some rows are kept, the same each time, in their order: see `row_sample`. How many rows
    it has is in the frame's `attrs` then.

    Args:
        path: a CSV (`,`, `;`, tab or `|`, optionally gzip) or Parquet file; the ending decides.
        name: whose ending decides, for a blob without one.
        target: column of whose rare classes no row is lost.
        rows: how many are kept, if fewer than usual are wanted.

    Raises:
        TableUnreadableError: no such file, not a table, or a format we do not read.
        EmptyTableError: it has no rows or no columns.
        ColumnNameRefusedError: a name stands over two columns.
    """
    path = Path(path)
    shown = name or path.name
    try:
        long = path.is_file() and is_long(path, shown)
        if long and shown.lower().endswith(PARQUET_ENDINGS):
            return _long_parquet(path, shown, target, rows)
        if long and shown.lower().endswith(CSV_ENDINGS) and (found := _long_csv(path, shown, target, rows)) is not None:
            return found
        data = path.read_bytes()
    except FileNotFoundError:
        raise TableUnreadableError(f"{path} does not exist; give a CSV, CSV.gz or Parquet file") from None
    except IsADirectoryError:
        raise TableUnreadableError(f"{path} is a folder; give a CSV, CSV.gz or Parquet file in it") from None
    except OSError as error:
        raise TableUnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    return shortened(parse_table(data, shown), target, rows)


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


def _long_parquet(path: Path, name: str, target: str | None, rows: int | None) -> pd.DataFrame:
    try:
        table = read_long_parquet(path, target, rows)
    except (pa.ArrowException, ValueError) as error:
        raise TableUnreadableError(f"{name} is not a Parquet file: {_first_line(error)}") from error
    return _with_attributes(check_shape(table, name), table)


def _long_csv(path: Path, name: str, target: str | None, rows: int | None) -> pd.DataFrame | None:
    """Read a large CSV file; None where Arrow does not read it, and pandas may, as one piece."""
    separator = ""
    try:
        with open_text(path, name) as text:
            header = text.readline().removeprefix("\ufeff")
        if not header.strip() or "\x00" in header:
            return None
        separator = _separator(header)
        _check_unique([cell for cell in next(csv.reader([header], delimiter=separator), []) if cell], name)
        data, offered = read_long_csv(path, name, separator, target, rows)
    except (pa.ArrowException, OSError, ValueError, csv.Error):
        if separator:
            with contextlib.suppress(OSError, csv.Error), open_text(path, name) as text:
                _check_even(text, separator, name)
        return None
    table = check_shape(_read_csv(data, ",", name), name)
    if offered > len(table):
        table.attrs[ROWS_IN_FILE] = offered
    return table


def _with_attributes(table: pd.DataFrame, source: pd.DataFrame) -> pd.DataFrame:
    table.attrs.update(source.attrs)
    return table


def _parse_parquet(data: bytes, name: str) -> pd.DataFrame:
    try:
        _check_unique(pq.read_schema(pa.BufferReader(data)).names, name)
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
    separator = _separator(header)
    # As the file has them: pandas would call the second of two `x` columns `x.1`.
    _check_unique([name_ for name_ in next(csv.reader(io.StringIO(text), delimiter=separator), []) if name_], name)
    return _read_csv(text.encode(), separator, name)


def _separator(header: str) -> str:
    return max(_SEPARATORS, key=lambda sign: len(next(csv.reader([header], delimiter=sign))))


def _read_csv(data: bytes, separator: str, name: str) -> pd.DataFrame:
    try:
        # One pass over whole columns: chunked inference would give one column two types.
        table = pd.read_csv(io.BytesIO(data), sep=separator, low_memory=False)
    except pd.errors.EmptyDataError:
        raise EmptyTableError(name) from None
    except (pd.errors.ParserError, ValueError) as error:
        _check_even(_text_of(data), separator, name)
        raise TableUnreadableError(f"{name} is not a CSV table: {_first_line(error)}") from error
    # A short row lacks its last value; a long first row makes an index of the first column.
    if len(table) and (table.iloc[:, -1].isna().any() or not isinstance(table.index, pd.RangeIndex)):
        _check_even(_text_of(data), separator, name)
    return table


def _text_of(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")


def _check_even(text: Iterable[str], separator: str, name: str) -> None:
    """Refuse rows with more or fewer cells than the header: their values could stand in the wrong columns."""
    reader = csv.reader(text, delimiter=separator)
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
