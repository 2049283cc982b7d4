"""Files too large to be read at once: read in batches, of which a sample of the rows is kept."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from trainer.row_sample import ROWS_IN_FILE, Classes, Draw, have_value, most_rows

PARQUET_ENDINGS = (".parquet", ".pq")
#: Files up to so many bytes are read at once; so many compressed ones, or cells of Parquet, are about as much.
AT_ONCE_BYTES, AT_ONCE_GZIP_BYTES, AT_ONCE_CELLS = 32 * 2**20, 4 * 2**20, 4 * 2**20
_BLOCK_BYTES, _BATCH_ROWS = 8 * 2**20, 65_536


def is_long(path: Path, name: str) -> bool:
    """Whether a file should be read in batches. A Parquet file may hold a thousand times what it takes."""
    if path.stat().st_size > (AT_ONCE_GZIP_BYTES if name.lower().endswith(".gz") else AT_ONCE_BYTES):
        return True
    return name.lower().endswith(PARQUET_ENDINGS) and _cells(path) > AT_ONCE_CELLS


def _cells(path: Path) -> int:
    """How many a Parquet file has, as its footer says; none where it has no footer."""
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return 0
    return int(footer.num_rows * footer.num_columns)


def read_long_parquet(path: Path, target: str | None, rows: int | None) -> pd.DataFrame:
    """Read a Parquet file, at most `most_rows` of it."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        columns = [field.name for field in file.schema_arrow]
        found = _drawn(file.iter_batches(_BATCH_ROWS), file.schema_arrow, columns, target, rows)
    frame: pd.DataFrame = found.unify_dictionaries().to_pandas(self_destruct=True, split_blocks=True)
    frame.attrs.update(_attributes(found))
    return frame


def read_long_csv(path: Path, name: str, separator: str, target: str | None, rows: int | None) -> tuple[bytes, int]:
    """Return the rows of a CSV file that are kept, as a smaller CSV file with commas, and how many rows it has.

    Cells are taken over as text, so that what they are is decided of whole columns.

    Raises:
        pa.ArrowInvalid: rows of different lengths, or something else that Arrow does not read.
    """
    compression = "gzip" if name.lower().endswith(".gz") else None
    encoding = _encoding(path, compression)
    with pa.input_stream(str(path), compression=compression) as stream:
        read = pa_csv.ReadOptions(block_size=_BLOCK_BYTES, encoding=encoding)
        parse = pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
        header = _header(path, compression, encoding, separator)
        text = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
        )
        with pa_csv.open_csv(stream, read, parse, text) as reader:
            found = _drawn(reader, reader.schema, header, target, rows)
    offered = int((found.schema.metadata or {}).get(_ROWS, found.num_rows))
    return _as_csv(found), offered


def open_text(path: Path, name: str) -> io.TextIOWrapper:
    """Open a CSV file, compressed or not, in the encoding that it has."""
    compression = "gzip" if name.lower().endswith(".gz") else None
    stream = pa.input_stream(str(path), compression=compression)
    return io.TextIOWrapper(stream, encoding=_encoding(path, compression), newline="")


_ROWS = b"rows"


def _drawn(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, columns: list[str], target: str | None, rows: int | None
) -> pa.Table:
    """The rows kept, in their order; the schema's metadata say of how many, where that is more."""
    draw, classes = Draw(most_rows(len(columns), rows)), Classes()
    held = pa.Table.from_batches([], schema)
    place = columns.index(target) if target in columns else None
    for batch in batches:
        labels = None if place is None else batch.column(place)
        told = (None, None) if labels is None else (classes.codes(labels), have_value(labels))
        kept = draw.take(batch.num_rows, *told)
        part = batch if len(kept) == batch.num_rows else batch.take(pa.array(kept))
        held = pa.concat_tables([held, pa.Table.from_batches([part], schema)])
        if draw.full and (stay := draw.thin()) is not None:
            held = held.take(pa.array(stay)).combine_chunks()
    stay = draw.thin()
    if stay is not None:
        held = held.take(pa.array(stay)).combine_chunks()
    if held.num_rows < draw.offered:
        held = held.replace_schema_metadata({**(held.schema.metadata or {}), _ROWS: str(draw.offered)})
    return held


def _attributes(table: pa.Table) -> dict[str, int]:
    rows = (table.schema.metadata or {}).get(_ROWS)
    return {} if rows is None else {ROWS_IN_FILE: int(rows)}


def _as_csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    try:
        pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_style="none"))
    except pa.ArrowInvalid:  # a cell that needs quotes
        sink = io.BytesIO()
        pa_csv.write_csv(table, sink)
    return sink.getvalue()


def _encoding(path: Path, compression: str | None) -> str:
    """UTF-8, or what older spreadsheets write."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(path, compression):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _header(path: Path, compression: str | None, encoding: str, separator: str) -> list[str]:
    with pa.input_stream(str(path), compression=compression) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        return next(csv.reader(text, delimiter=separator))


def _blocks(path: Path, compression: str | None) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression=compression) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block
