"""JSON Lines in and out. Cells are kept as the JSON that stood in the file, to the letter."""

import gzip
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.errors import ScoreError
from edge_agent.scoring.byte_file import ByteFile
from edge_agent.scoring.json_text import json_texts
from edge_agent.scoring.sources import Batch, LostRow, Notation, after, share_of

#: Lines are read until they are about so much, however short they are.
_CHUNK_BYTES = 8 << 20
#: A longer first line is no line of a table.
_LINE_BYTES = 16 << 20
_FIRST_ROWS = 1000
_TEXT_CHARS = 2000

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonlSource:
    """One object a line; its columns are the fields of the first thousand."""

    notation: Notation = "json"
    rows: int | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._raw: IO[bytes] | None = None
        names: dict[str, None] = {}
        with self._lines() as stream:
            if len(stream.readline(_LINE_BYTES)) == _LINE_BYTES:
                raise ScoreError(f"{path}, line 1: it is longer than {_LINE_BYTES >> 20} MiB; a row is a JSON object")
        with self._lines() as stream:
            filled = (line for line in stream if line.strip())
            for number, line in enumerate(itertools.islice(filled, _FIRST_ROWS), start=1):
                row = _row(number, number, line)
                if isinstance(row, LostRow) and number == 1:
                    raise ScoreError(f"{path}, {row.reason}")
                names.update({} if isinstance(row, LostRow) else dict.fromkeys(row))
        if not names:
            raise ScoreError(f"{path} is empty")
        self.names = list(names)

    def types(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in columns])

    def batches(self, columns: Sequence[str], *, done: int, most: int) -> Iterator[Batch]:
        return after(self._batches(columns, most), done)

    def share_read(self) -> float:
        return share_of(self._raw, self._size)

    def _lines(self) -> IO[bytes]:
        self._raw = self._path.open("rb")
        if self._path.name.lower().endswith(".gz"):
            return io.BufferedReader(_Unpacked(self._raw))
        return self._raw

    def _batches(self, columns: Sequence[str], most: int) -> Iterator[Batch]:
        first = line_number = 0
        with self._lines() as stream:
            while chunk := stream.readlines(_CHUNK_BYTES):
                for start in range(0, len(chunk), most):
                    lines = chunk[start : start + most]
                    batch = _batch(columns, first, line_number, lines)
                    line_number += len(lines)
                    first += batch.rows
                    if batch.rows:
                        yield batch


class _Unpacked(gzip.GzipFile):
    """Closes the file that it reads."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw)
        self._below = raw

    def close(self) -> None:
        super().close()
        self._below.close()


def _batch(columns: Sequence[str], first: int, line_number: int, lines: Sequence[bytes]) -> Batch:
    rows: list[dict[str, msgspec.Raw]] = []
    lost: list[LostRow] = []
    for number, line in enumerate(lines, start=line_number + 1):
        if not line.strip():
            continue
        row = _row(first + len(rows) + len(lost) + 1, number, line)
        if isinstance(row, LostRow):
            lost.append(row)
        else:
            rows.append(row)
    cells = [pa.array([_cell(row, name) for row in rows], pa.string()) for name in columns]
    if not columns:  # a table of no columns would have no rows
        return Batch(first, pa.table({"": pa.nulls(len(rows), pa.string())}), lost)
    return Batch(first, pa.table(cells, names=list(columns)), lost)


def _cell(row: dict[str, msgspec.Raw], name: str) -> bytes | None:
    """A field that is not there is none of JSON's values, so it is told from `null`."""
    found = row.get(name)
    return None if found is None else bytes(found)


def _row(number: int, line_number: int, line: bytes) -> dict[str, msgspec.Raw] | LostRow:
    try:
        line.decode()
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "a row is a JSON object" if isinstance(error, msgspec.ValidationError) else str(error)
        text = line[:_TEXT_CHARS].decode(errors="replace").rstrip("\n")
        return LostRow(number, f"line {line_number}: {reason}", text)


class JsonlSink:
    """Writes one object a line.

    Args:
        raw: columns whose texts are JSON already.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, place: Sequence[int], *, packed: bool, raw: frozenset[str]
    ) -> None:
        self._file = ByteFile(path, place, packed=packed)
        self._raw = raw
        self._names = [msgspec.json.encode(name).decode() for name in schema.names]

    def write(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        pieces: list[Any] = []
        for index, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
            texts = column if name in self._raw else json_texts(column)
            pieces += [f"{',' if index else '{'}{self._names[index]}:", pc.fill_null(texts, "null")]
        lines = pc.binary_join_element_wise(*pieces, "}\n", "").cast(pa.large_string()).combine_chunks()
        for part in lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]:
            self._file.write(_data(part))

    def commit(self) -> list[int]:
        return self._file.commit()

    def finish(self) -> None:
        self._file.commit()

    def close(self) -> None:
        self._file.close()


def _data(lines: pa.Array) -> Any:
    """Return the bytes of all texts of an array, one behind the other."""
    _, offsets, data = lines.buffers()
    bounds = memoryview(offsets).cast("q")
    begin, end = bounds[lines.offset], bounds[lines.offset + len(lines)]
    return data[begin:end]
