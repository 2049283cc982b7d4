"""Which form a file has, by its name or as it is told, and what reads and writes it."""

import contextlib
import itertools
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from edge_agent.errors import ScoreError
from edge_agent.scoring.csv_table import CsvSink, CsvSource
from edge_agent.scoring.image_folder import ImageFolder
from edge_agent.scoring.json_text import value_of
from edge_agent.scoring.jsonl_table import JsonlSink, JsonlSource
from edge_agent.scoring.parquet_table import ParquetSink, ParquetSource
from edge_agent.scoring.sources import Sink, Source
from edge_agent.scoring.sqlite_table import SqliteSink, SqliteSource

IMAGES = "images"
OUT_FORMS = ("csv", "parquet", "jsonl", "sqlite")
FORMS = (*OUT_FORMS, IMAGES)
_SUFFIXES = {
    "csv": "csv", "tsv": "csv", "parquet": "parquet", "pq": "parquet", "jsonl": "jsonl", "ndjson": "jsonl",
    "sqlite": "sqlite", "sqlite3": "sqlite", "db": "sqlite",
}  # fmt: skip
_KNOWN = "CSV, Parquet, JSON Lines or SQLite (.csv, .parquet, .jsonl, .sqlite, .csv.gz, .jsonl.gz)"


def form_of(path: Path, told: str | None, option: str) -> str:
    """Return a file's form: the one that is told, or the one that its name says.

    Raises:
        ScoreError: neither says it.
    """
    if told is not None:
        return told
    if path.is_dir():
        return IMAGES
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix not in _SUFFIXES:
        raise ScoreError(f"{path}: its name does not say what it is; use {_KNOWN}, or {option}")
    return _SUFFIXES[suffix]


def open_source(path: Path, form: str, table: str | None = None) -> Source:
    """Look at a table that is to be read.

    Raises:
        ScoreError: it is not there, empty, or not what it is said to be. What reads it goes through `reading`.
    """
    if table is not None and form != "sqlite":
        raise ScoreError(f"--table {table!r}: {path} is no SQLite database")
    with reading(path):
        if path.is_dir() != (form == IMAGES) and path.exists():
            raise ScoreError(f"{path}: images are in a folder, and a table is a file: {_KNOWN}")
        if form == IMAGES:
            return ImageFolder(path)
        if form == "parquet":
            return ParquetSource(path)
        if form == "sqlite":
            return SqliteSource(path, table)
        return CsvSource(path) if form == "csv" else JsonlSource(path)


def open_sink(out: Path, part: Path, form: str, schema: pa.Schema, place: Sequence[int], raw: frozenset[str]) -> Sink:
    """Open a result for writing, or for going on with.

    Args:
        out: its name once it is complete.
        part: where it is written until then.
        raw: columns of JSON text.
    """
    packed = out.name.lower().endswith(".gz")
    if form == "parquet":
        return ParquetSink(part, schema, place)
    if form == "sqlite":
        return SqliteSink(part, schema, place)
    if form == "jsonl":
        return JsonlSink(part, schema, place, packed=packed, raw=raw)
    delimiter = "\t" if out.name.lower().removesuffix(".gz").endswith(".tsv") else ","
    return CsvSink(part, schema, place, packed=packed, delimiter=delimiter)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what reading a file may raise into one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ScoreError(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise ScoreError(
            f"{path}: it is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error, sqlite3.Error) as error:
        if path.is_file() and not path.stat().st_size:
            raise ScoreError(f"{path} is empty") from error
        if "invalid UTF8" in str(error):
            raise ScoreError(f"{path}: it is not UTF-8 text; save it as UTF-8") from error
        raise ScoreError(f"{path}: {' '.join(str(error).split())[:200]}") from error


def first_rows(path: Path, limit: int) -> list[dict[str, Any]]:
    """Return the first rows of a table; of a CSV, every cell is a text.

    Raises:
        ScoreError: it cannot be read.
    """
    source = open_source(path, form_of(path, None, "another name"))
    rows: list[dict[str, Any]] = []
    with reading(path):
        for batch in source.batches(source.names, done=0, most=limit):
            found = batch.table.to_pylist()
            if source.notation == "json":
                found = [{name: value_of(text) for name, text in row.items()} for row in found]
            rows += found
            if len(rows) >= limit:
                break
    return list(itertools.islice(rows, limit))
