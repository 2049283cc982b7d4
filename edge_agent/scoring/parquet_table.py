"""Parquet in and out: only the columns that are needed are read, page by page; a file can be gone on with."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from edge_agent.errors import ScoreError
from edge_agent.scoring.sources import Batch, Notation, after

#: Of each column chunk, so much is read at once: a file may be one row group. Arrow's own buffering ahead would hold
#: every row group that it has read until the last.
_BUFFER_BYTES = 256 << 10
#: A batch is of fewer rows where they are long.
_BATCH_BYTES = 16 << 20
#: A row group is of so many rows, or of fewer that take so much.
_GROUP_ROWS, _GROUP_BYTES = 65_536, 32 << 20
_MAGIC = b"PAR1"


class ParquetSource:
    """A Parquet file. Its footer is read once."""

    notation: Notation = "typed"

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open(None) as file:
            self._metadata = file.metadata
            self._schema = file.schema_arrow
        self.rows: int | None = self._metadata.num_rows
        self.names = list(self._schema.names)
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None:
            raise ScoreError(f"{path}: the column {twice!r} is there twice; name each column once")
        self._read = 0

    def types(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in columns])

    def share_read(self) -> float:
        return self._read / self.rows if self.rows else 1.0

    def batches(self, columns: Sequence[str], *, done: int, most: int) -> Iterator[Batch]:
        sizes = [self._metadata.row_group(index).num_rows for index in range(self._metadata.num_row_groups)]
        ends = list(itertools.accumulate(sizes))
        groups = [index for index, end in enumerate(ends) if end > done]
        skipped = ends[groups[0]] - sizes[groups[0]] if groups else 0
        return after(self._batches(columns, groups, skipped, min(most, self._fitting(columns))), done)

    def _fitting(self, columns: Sequence[str]) -> int:
        """Return how many rows of these columns take no more than a batch may, on average."""
        wanted, size = set(columns), 0
        for group in range(self._metadata.num_row_groups):
            chunks = self._metadata.row_group(group)
            for index in range(chunks.num_columns):
                chunk = chunks.column(index)
                if chunk.path_in_schema.partition(".")[0] in wanted:
                    size += chunk.total_uncompressed_size
        return max(1, _BATCH_BYTES * (self.rows or 1) // max(1, size))

    def _open(self, metadata: Any) -> Any:
        return pyarrow.parquet.ParquetFile(self._path, metadata=metadata, buffer_size=_BUFFER_BYTES, pre_buffer=False)

    def _batches(self, columns: Sequence[str], groups: list[int], first: int, most: int) -> Iterator[Batch]:
        if not groups:
            return
        with self._open(self._metadata) as file:
            for batch in file.iter_batches(most, row_groups=groups, columns=list(columns), use_threads=False):
                yield Batch(first, pa.Table.from_batches([batch]))
                first += batch.num_rows
                self._read = first


class ParquetSink:
    """Tables are joined into row groups.

    At each commit the row groups since the last one are closed as a Parquet file of their own inside the file, so that
    a later sink can find them; the last footer lists the row groups of all of them, and readers look at no other.

    Args:
        place: where each of them ends.
    """

    def __init__(self, path: Path, schema: pa.Schema, place: Sequence[int]) -> None:
        self._path, self._schema = path, schema
        self._ends = list(place)
        with path.open("r+b" if place else "wb") as file:
            file.truncate(place[-1] if place else 0)
        self._parts = [_read_footer(path, end) for end in place]
        self._file: Any = None
        self._writer: Any = None
        self._metadata: list[Any] = []
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        rows = sum(each.num_rows for each in self._waiting)
        if rows >= _GROUP_ROWS or sum(each.nbytes for each in self._waiting) >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        table = pa.concat_tables(self._waiting) if self._waiting else None
        self._waiting = []
        if table is not None and table.num_rows:
            self._opened().write_table(table, row_group_size=table.num_rows)

    def commit(self) -> list[int]:
        self._write_group()
        if self._writer is not None:
            self._writer.close()
            self._ends.append(self._file.tell())
            self._parts += self._metadata
            self._file.flush()
            os.fsync(self._file.fileno())
            self.close()
        return list(self._ends)

    def finish(self) -> None:
        if not self._parts:
            self._opened()
        self.commit()
        if len(self._parts) == 1:  # it is a whole file already
            return
        whole = self._parts[0]
        for part in self._parts[1:]:
            whole.append_row_groups(part)
        footer = pa.BufferOutputStream()
        whole.write_metadata_file(footer)
        with self._path.open("ab") as file:
            file.write(memoryview(footer.getvalue())[len(_MAGIC) :])
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # or it would write a footer when it is forgotten
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None

    def _opened(self) -> Any:
        if self._writer is None:
            self._metadata = []
            self._file = pa.OSFile(str(self._path), "ab")
            # The writer takes only a file that stands at its beginning; what it writes goes to the end all the same,
            # and the offsets that it notes down are those in the file.
            os.lseek(self._file.fileno(), 0, os.SEEK_SET)
            self._writer = pyarrow.parquet.ParquetWriter(
                self._file,
                self._schema,
                use_dictionary=_repetitive(self._schema),
                metadata_collector=self._metadata,
            )
        return self._writer


def _repetitive(schema: pa.Schema) -> list[str] | bool:
    """Return the columns that a dictionary makes smaller: numbers that were measured or counted seldom repeat."""
    return [field.name for field in schema if not pa.types.is_primitive(field.type)] or False


def _read_footer(path: Path, end: int) -> Any:
    with path.open("rb") as file:
        file.seek(end - 8)
        length = int.from_bytes(file.read(4), "little")
        file.seek(end - 8 - length)
        return pyarrow.parquet.read_metadata(pa.BufferReader(_MAGIC + file.read(length + 8)))
