"""Tables in and out for scoring: CSV, Parquet, JSON Lines, streamed, so that memory does not grow with the file."""

import contextlib
import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from edge_agent.disk import replacing
from edge_agent.errors import ScoreError

_BATCH_ROWS = 8192
_FORMATS = "CSV, Parquet or JSON Lines (.csv, .parquet, .jsonl, .csv.gz, .jsonl.gz)"


@dataclass(frozen=True, slots=True)
class Reader:
    """A table: its column names, and its rows in batches."""

    names: list[str]
    batches: Iterator[pa.Table]


class Writer(Protocol):
    """Where results go, table after table."""

    def write(self, table: pa.Table) -> None: ...


def _form(path: Path) -> str:
    suffixes = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    forms = {"csv": "csv", "tsv": "csv", "parquet": "parquet", "pq": "parquet", "jsonl": "jsonl", "ndjson": "jsonl"}
    if suffixes not in forms:
        raise ScoreError(f"{path}: its name does not say what it is; use {_FORMATS}")
    return forms[suffixes]


def is_csv(path: Path) -> bool:
    """Whether a file's form is one that knows no types."""
    return _form(path) == "csv"


@contextlib.contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Open a table for reading.

    Raises:
        ScoreError: it is not there, empty, or not what its name says; the batches raise it too.
    """
    form = _form(path)
    with contextlib.ExitStack() as open_files:
        batches: Iterator[pa.Table]
        with _translated(path):
            if form == "parquet":
                parquet = open_files.enter_context(pyarrow.parquet.ParquetFile(path))
                names = list(parquet.schema_arrow.names)
                batches = (pa.Table.from_batches([batch]) for batch in parquet.iter_batches(_BATCH_ROWS))
            elif form == "csv":
                csv_file = open_files.enter_context(_open_csv(path))
                names = list(csv_file.schema.names)
                batches = (pa.Table.from_batches([batch]) for batch in csv_file)
            else:
                stream = open_files.enter_context(_open_lines(path))
                names, batches = _open_jsonl(path, stream)
        yield Reader(names, _each(path, batches))


def _each(path: Path, batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    while True:
        with _translated(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what reading a file may raise into one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ScoreError(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path}: it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        if path.is_file() and not path.stat().st_size:
            raise ScoreError(f"{path} is empty") from error
        raise ScoreError(f"{path}: {' '.join(str(error).split())[:200]}") from error


@contextlib.contextmanager
def _open_csv(path: Path) -> Iterator[Any]:
    """Read every column as text: what is kept stays as it was written, to the letter."""
    with pa.input_stream(str(path)) as stream:
        head = stream.read(1 << 20).decode("utf-8-sig", errors="replace").partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pa.input_stream(str(path)) as stream, pyarrow.csv.open_csv(stream, parse_options=parse) as reader:
        names = reader.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ScoreError(f"{path}: the column {twice!r} is there twice; name each column once")
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    with (
        pa.input_stream(str(path)) as stream,
        pyarrow.csv.open_csv(stream, parse_options=parse, convert_options=convert) as reader,
    ):
        yield reader


def _open_lines(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _open_jsonl(path: Path, stream: IO[bytes]) -> tuple[list[str], Iterator[pa.Table]]:
    batches = _jsonl_batches(path, stream)
    first = next(batches, None)
    if first is None:
        raise ScoreError(f"{path} is empty")
    return list(first.schema.names), itertools.chain([first], batches)


def _jsonl_batches(path: Path, stream: IO[bytes]) -> Iterator[pa.Table]:
    schema: pa.Schema | None = None
    lines = enumerate(stream, start=1)
    while chunk := list(itertools.islice(lines, _BATCH_ROWS)):
        rows = [_jsonl_row(path, number, line) for number, line in chunk if line.strip()]
        if rows:
            table = pa.Table.from_pylist(rows, schema=schema)
            schema = table.schema
            yield table


def _jsonl_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ScoreError(f"{path}, line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ScoreError(f"{path}, line {number}: a row is a JSON object")
    return row


@contextlib.contextmanager
def open_writer(path: Path) -> Iterator[Writer]:
    """Open a table for writing; it takes its place when all went well, and leaves nothing behind when not.

    Raises:
        ScoreError: it cannot be written.
    """
    form = _form(path)
    try:
        with replacing(path) as file:
            writer = _TableWriter(form, file, packed=path.name.lower().endswith(".gz"))
            yield writer
            writer.close()
    except OSError as error:
        raise ScoreError(f"{path}: {error.strerror or error}; choose another --out") from error


class _TableWriter:
    """Writes one form; opened with the first table, whose columns name it."""

    def __init__(self, form: str, file: BinaryIO, *, packed: bool) -> None:
        self._form = form
        self._packed = gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if packed else None
        self._sink: Any = self._packed or file
        self._parquet: Any = None
        self._headed = False

    def write(self, table: pa.Table) -> None:
        if self._form == "jsonl":
            self._sink.write(b"".join(msgspec.json.encode(row) + b"\n" for row in table.to_pylist()))
        elif self._form == "csv":
            self._write_csv(table)
        else:
            if self._parquet is None:
                self._parquet = pyarrow.parquet.ParquetWriter(self._sink, table.schema)
            self._parquet.write_table(table)

    def _write_csv(self, table: pa.Table) -> None:
        """Write texts without the quotes that they do not need; Arrow's own writer quotes them all."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if not self._headed:
            writer.writerow(table.column_names)
            self._headed = True
        writer.writerows(zip(*(_texts(column) for column in table.columns), strict=True))
        self._sink.write(text.getvalue().encode())

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
        if self._packed is not None:
            self._packed.close()


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    if pa.types.is_nested(column.type):
        return [msgspec.json.encode(value).decode() for value in column.to_pylist()]
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts
