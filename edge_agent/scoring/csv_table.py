"""CSV in and out. Every cell is a text: what is kept stays as it was written, to the letter."""

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from edge_agent.errors import ScoreError
from edge_agent.scoring.byte_file import ByteFile
from edge_agent.scoring.json_text import json_texts
from edge_agent.scoring.row_handlers import lent_to_arrow
from edge_agent.scoring.sources import Batch, LostRow, Notation, after, share_of

#: What is parsed at once. A row must fit into it, and Arrow reads some thirty of them ahead.
_BLOCK_BYTES = 1 << 20
_TEXT_CHARS = 2000


class CsvSource:
    """A CSV file; its delimiter is the one of `,` `;` tab that its first line has most of."""

    notation: Notation = "text"
    rows: int | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._packed = path.name.lower().endswith(".gz")
        self._raw: Any = None
        self._row_bytes = 0.0
        self._read = 0
        with self._stream() as stream:
            head = stream.read(1 << 20).decode("utf-8-sig", errors="replace").partition("\n")[0]
        self._delimiter = max(",;\t", key=head.count)
        with self._stream() as stream, self._open(stream, deque(), None) as reader:
            self.names = list(reader.schema.names)
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None:
            raise ScoreError(f"{path}: the column {twice!r} is there twice; name each column once")

    def types(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in columns])

    def batches(self, columns: Sequence[str], *, done: int, most: int) -> Iterator[Batch]:
        return after(self._batches(columns, most), done)

    def share_read(self) -> float:
        """Rows are as long as those of the first block; of a packed file, Arrow's place is known, somewhat ahead."""
        if not self._packed:
            return min(1.0, self._read * self._row_bytes / self._size)
        return share_of(self._raw, self._size)

    def _stream(self) -> Any:
        self._raw = pa.OSFile(str(self._path))
        return pa.CompressedInputStream(self._raw, "gzip") if self._packed else self._raw

    def _open(self, stream: Any, lost: deque[LostRow], columns: Sequence[str] | None) -> Any:
        def keep(row: Any) -> str:
            lost.append(_lost_row(row))
            return "skip"

        types = {"column_types": dict.fromkeys(columns, pa.string()), "include_columns": columns} if columns else {}
        return pyarrow.csv.open_csv(
            stream,
            # Rows are numbered only where one thread parses.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=lent_to_arrow(keep)
            ),
            convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=False, **types),
        )

    def _batches(self, columns: Sequence[str], most: int) -> Iterator[Batch]:
        # Without a column to read, Arrow would read them all.
        wanted = list(columns) or self.names[:1]
        lost: deque[LostRow] = deque()
        first = 0
        with self._stream() as stream, self._open(stream, lost, wanted) as reader:
            for table in _grouped(self._measured(reader), most, lost):
                end = first + table.num_rows
                gone = []
                while lost and lost[0].number - 1 < end:
                    gone.append(lost.popleft())
                    end += 1
                self._read = end
                yield Batch(first, table, gone)
                first = end
        if lost:
            nothing = pa.schema([(name, pa.string()) for name in wanted]).empty_table()
            yield Batch(first, nothing, list(lost))

    def _measured(self, reader: Any) -> Iterator[Any]:
        for block in reader:
            self._row_bytes = self._row_bytes or min(self._size, _BLOCK_BYTES) / max(1, block.num_rows)
            yield block


def _grouped(reader: Any, most: int, lost: Sized) -> Iterator[pa.Table]:
    """Join what small blocks gave, and cut what is too long; of rows that were lost no more wait than of others."""
    waiting: list[Any] = []
    rows = 0
    for block in reader:
        for start in range(0, block.num_rows, most):
            waiting.append(block.slice(start, most))
            rows += waiting[-1].num_rows
            if rows >= most:
                table = pa.Table.from_batches(waiting)
                yield table.slice(0, most)
                waiting, rows = table.slice(most).to_batches(), rows - most
        if rows and len(lost) >= most:
            yield pa.Table.from_batches(waiting)
            waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting)


def _lost_row(row: Any) -> LostRow:
    """Return a row that Arrow could not read; to it the header is row 1."""
    reason = f"Expected {row.expected_columns} columns, got {row.actual_columns}"
    return LostRow(row.number - 1, reason, row.text[:_TEXT_CHARS])


class CsvSink:
    """Writes texts without the quotes that they do not need."""

    def __init__(self, path: Path, schema: pa.Schema, place: Sequence[int], *, packed: bool, delimiter: str) -> None:
        self._file = ByteFile(path, place, packed=packed)
        self._delimiter = delimiter
        if not place:
            self._file.write(_quoted([tuple(schema.names)], delimiter))

    def write(self, table: pa.Table) -> None:
        texts = pa.table([csv_texts(column) for column in table.columns], names=table.column_names)
        self._file.write(self._plain(texts) or _quoted(zip(*map(_listed, texts.columns), strict=True), self._delimiter))

    def _plain(self, texts: pa.Table) -> Any:
        """Return the rows as Arrow writes them at once, or None where a text needs quotes."""
        if texts.num_columns == 1:  # an empty text would be an empty line
            return None
        sink = pa.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(include_header=False, delimiter=self._delimiter, quoting_style="none")
        try:
            pyarrow.csv.write_csv(texts, sink, options)
        except pa.ArrowInvalid:
            return None
        return sink.getvalue()

    def commit(self) -> list[int]:
        return self._file.commit()

    def finish(self) -> None:
        self._file.commit()

    def close(self) -> None:
        self._file.close()


def _listed(column: pa.ChunkedArray) -> list[str | None]:
    found: list[str | None] = column.to_pylist()
    return found


def _quoted(rows: Any, delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


def csv_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as a CSV shows it: a nested value as JSON, nothing for null."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return json_texts(column)
    return column.cast(pa.string())
