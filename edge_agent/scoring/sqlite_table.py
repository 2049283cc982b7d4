"""SQLite in and out: a table read in the order of its rows; results in a new database's table `predictions`."""

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from edge_agent.errors import ScoreError
from edge_agent.scoring.json_text import json_texts
from edge_agent.scoring.sources import Batch, Notation

_MARK = "SQLite format 3\x00"


class SqliteSource:
    """One table of a database, which is read as it was when reading began.

    Args:
        table: its name; None for the only one.
    """

    notation: Notation = "typed"

    def __init__(self, path: Path, table: str | None) -> None:
        self._path = path
        with path.open("rb") as file:
            head = file.read(len(_MARK))
        if head != _MARK.encode():
            raise ScoreError(f"{path} is empty" if not head else f"{path} is not a SQLite database")
        with self._connected() as connection:
            self._table = _chosen(path, connection, table)
            self._order = _order(connection, self._table)
            found = connection.execute(_select("*", self._table) + " LIMIT 0")
            self.names = [column[0] for column in found.description]
            self.rows: int | None = connection.execute(_select("count(*)", self._table)).fetchone()[0]
        self._types: dict[str, pa.DataType] = {}
        self._read = 0

    def share_read(self) -> float:
        return self._read / self.rows if self.rows else 1.0

    def types(self, columns: Sequence[str]) -> pa.Schema:
        """A column of SQLite may hold anything: what it holds is looked up once."""
        absent = [name for name in columns if name not in self._types]
        if absent:
            kinds = ("integer", "real", "text", "blob")
            asked = ", ".join(f"max(typeof({quoted(name)}) = '{kind}')" for name in absent for kind in kinds)
            with self._connected() as connection:
                found = connection.execute(_select(asked, self._table)).fetchone()
            for index, name in enumerate(absent):
                self._types[name] = _type(*map(bool, found[4 * index : 4 * index + 4]))
        return pa.schema([(name, self._types[name]) for name in columns])

    def batches(self, columns: Sequence[str], *, done: int, most: int) -> Iterator[Batch]:
        schema = self.types(columns)
        asked = ", ".join(map(quoted, columns)) or "NULL"
        with self._connected() as connection:
            rows = connection.execute(f"{_select(asked, self._table)}{self._order} LIMIT -1 OFFSET ?", (done,))
            first = done
            while chunk := rows.fetchmany(most):
                yield Batch(first, _table(schema, chunk))
                first += len(chunk)
                self._read = first

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        address = f"file:{urllib.parse.quote(str(self._path.absolute()))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as connection:
            yield connection


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _select(asked: str, table: str) -> str:
    return f"SELECT {asked} FROM {quoted(table)}"  # noqa: S608 - quoted


def _chosen(path: Path, connection: sqlite3.Connection, table: str | None) -> str:
    asked = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
    names = [row[0] for row in connection.execute(asked)]
    listed = ", ".join(map(repr, names)) or "none"
    if table is not None and table not in names:
        raise ScoreError(f"--table {table!r}: {path} has no such table; it has {listed}")
    if table is None and len(names) != 1:
        raise ScoreError(f"{path} has the tables {listed}; name one with --table" if names else f"{path} has no table")
    return table if table is not None else names[0]


def _order(connection: sqlite3.Connection, table: str) -> str:
    """Return what keeps a table's rows in their order: unasked, SQLite reads along any index that has the columns.

    That is the order of the rowid, or where there is none, of the primary key; a view has its own.
    """
    if connection.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,)).fetchone() == ("view",):
        return ""
    columns = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    taken = {name.lower() for name, _ in columns}
    for name in {"rowid", "_rowid_", "oid"} - taken:  # of which any may be a column's
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute(_select(name, table) + " LIMIT 0")
            return f" ORDER BY {name}"
    key = sorted((place, name) for name, place in columns if place)
    return " ORDER BY " + ", ".join(quoted(name) for _, name in key) if key else ""


def _type(integer: bool, real: bool, text: bool, blob: bool) -> pa.DataType:
    if text or (blob and (integer or real)):
        return pa.string()
    if blob:
        return pa.binary()
    return pa.float64() if real else pa.int64()


def _table(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    if not len(schema):  # a table of no columns would have no rows
        return pa.table({"": pa.nulls(len(rows), pa.string())})
    arrays = []
    for field, values in zip(schema, columns, strict=True):
        if pa.types.is_string(field.type):
            arrays.append(pa.array(map(_text, values), pa.string(), size=len(rows)))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.table(arrays, schema=schema)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else value.hex() if isinstance(value, bytes) else str(value)


class SqliteSink:
    """Rows are committed with `commit`; what a kill left beyond the given place is taken away.

    Args:
        place: how many rows were written.
    """

    def __init__(self, path: Path, schema: pa.Schema, place: Sequence[int]) -> None:
        _check_names(schema.names)
        self._written = place[0] if place else 0
        if not place:
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            path.write_bytes(b"")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = FULL")
        if place:
            self._connection.execute("DELETE FROM predictions WHERE rowid > ?", (self._written,))
        else:
            listed = ", ".join(f"{quoted(field.name)} {_affinity(field.type)}" for field in schema)
            self._connection.execute(f"CREATE TABLE predictions ({listed})")
        self._insert = f"INSERT INTO predictions VALUES ({', '.join('?' * len(schema))})"  # noqa: S608 - marks

    def write(self, table: pa.Table) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN")
        columns = [_values(column) for column in table.columns]
        self._connection.executemany(self._insert, zip(*columns, strict=True))
        self._written += table.num_rows

    def commit(self) -> list[int]:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")
        return [self._written]

    def finish(self) -> None:
        self.commit()

    def close(self) -> None:
        self._connection.close()


def _check_names(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ScoreError(f"SQLite does not tell the column {name!r} from {other!r}; leave one out by --keep")


def _affinity(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "INTEGER"
    if pa.types.is_floating(kind):
        return "REAL"
    return "BLOB" if pa.types.is_binary(kind) else "TEXT"


def _values(column: pa.ChunkedArray) -> list[Any]:
    affinity = _affinity(column.type)
    if pa.types.is_nested(column.type):
        column = json_texts(column)
    elif affinity == "TEXT":
        column = column.cast(pa.string())
    elif pa.types.is_uint64(column.type):  # SQLite's integers have a sign
        column = column.cast(pa.float64(), safe=False)
    found: list[Any] = column.to_pylist()
    return found
