"""Tables in and out for scoring: CSV, Parquet, JSON Lines, streamed, so that memory does not grow with the file."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

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


@contextlib.contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Open a table for reading.

    Raises:
        ScoreError: it is not there, empty, or not what its name says, now or while it is read.
    """
    form = _form(path)
    try:
        if form == "parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(_BATCH_ROWS))
                yield Reader(file.schema_arrow.names, batches)
        elif form == "csv":
            with _open_csv(path) as reader:
                yield Reader(reader.schema.names, (pa.Table.from_batches([batch]) for batch in reader))
        else:
            with pa.input_stream(str(path)) as stream:
                yield _jsonl_reader(path, stream)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise ScoreError(f"{path}: {reason[:200]}" if path.stat().st_size else f"{path} is empty") from error
    except FileNotFoundError as error:
        raise ScoreError(f"{error.filename or path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path}: it is not UTF-8 text ({error.reason} at byte {error.start})") from error


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


def _jsonl_reader(path: Path, stream: Any) -> Reader:
    batches = _jsonl_batches(path, stream)
    first = next(batches, None)
    if first is None:
        raise ScoreError(f"{path} is empty")
    return Reader(first.schema.names, itertools.chain([first], batches))


def _jsonl_batches(path: Path, stream: Any) -> Iterator[pa.Table]:
    schema: pa.Schema | None = None
    lines = enumerate(iter(stream.readline, b""), start=1)
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
        if isinstance(error, FileNotFoundError) and error.filename is not None and not Path(error.filename).exists():
            raise
        raise ScoreError(f"{path}: {error.strerror or error}; choose another --out") from error


class _TableWriter:
    """Writes one form; opened with the first table, whose columns name it."""

    def __init__(self, form: str, file: BinaryIO, *, packed: bool) -> None:
        self._form = form
        self._sink: Any = pa.CompressedOutputStream(file, "gzip") if packed else file
        self._packed = packed
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._form == "jsonl":
            for row in table.to_pylist():
                self._sink.write(msgspec.json.encode(row) + b"\n")
            return
        if self._writer is None:
            self._writer = (
                pyarrow.parquet.ParquetWriter(self._sink, table.schema)
                if self._form == "parquet"
                else pyarrow.csv.CSVWriter(
                    self._sink, table.schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed")
                )
            )
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._packed:
            self._sink.close()
