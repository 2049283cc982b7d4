"""The columns that are copied: of which type they are in the result."""

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.scoring.column_types import column_types, measured, numerals
from edge_agent.scoring.json_text import plain_texts
from edge_agent.scoring.progress import ProgressLine
from edge_agent.scoring.sources import Notation, Source
from protocols.manifest import TensorSpec

_BATCH_ROWS = 65_536
#: What JSON text must look like for a type, the narrowest first.
_JSON_FORMS = {
    r"^-?[0-9]{1,18}$": pa.int64(),
    r"^-?[0-9]": pa.float64(),
    r"^(true|false)$": pa.bool_(),
}
#: Forms of a result whose cells have types, so that the text of a source must get one.
TYPED_FORMS = ("parquet", "sqlite")


def kept_schema(
    source: Source,
    names: Sequence[str],
    inputs: Sequence[TensorSpec],
    out_form: str,
    progress: ProgressLine | None = None,
) -> pa.Schema:
    """Return the types of the kept columns in a result of this form.

    A source of texts is read through where the result has types, because its last row may make a text of a column.
    """
    if source.notation == "typed":
        return source.types(names).remove_metadata()
    typed = out_form in TYPED_FORMS or (source.notation == "text" and out_form == "jsonl")
    if not typed or not names:
        return pa.schema([(name, pa.string()) for name in names])
    tables = _tables(source, names, progress)
    types = column_types(tables, names, inputs) if source.notation == "text" else _json_types(tables, names, inputs)
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def _tables(source: Source, names: Sequence[str], progress: ProgressLine | None) -> Iterator[pa.Table]:
    for batch in source.batches(names, done=0, most=_BATCH_ROWS):
        yield batch.table
        if progress is not None:
            progress.show(batch.first + batch.rows, source.share_read())


def _json_types(
    tables: Iterator[pa.Table], names: Sequence[str], inputs: Sequence[TensorSpec]
) -> dict[str, pa.DataType]:
    decided = {spec.name: pa.float64() if spec.dtype == "float32" else pa.int64() for spec in inputs}
    decided |= {spec.name: pa.string() for spec in inputs if spec.dtype == "string"}
    fitting = {name: list(_JSON_FORMS) for name in names if name not in decided}
    seen: set[str] = set()
    for table in tables:
        for name in [name for name, forms in fitting.items() if forms]:
            texts = table.column(name).drop_null()
            texts = texts.filter(pc.not_equal(texts, "null"))
            fitting[name] = [form for form in fitting[name] if _all_match(texts, form)]
            if len(texts):
                seen.add(name)
    found = {name: _JSON_FORMS[forms[0]] for name, forms in fitting.items() if forms and name in seen}
    return found | {name: kind for name, kind in decided.items() if name in names}


def _all_match(texts: pa.ChunkedArray, form: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, form), min_count=0).as_py())


def as_kept(table: pa.Table, schema: pa.Schema, notation: Notation, *, raw: bool) -> pa.Table:
    """Return the kept columns of a table in their types; what does not fit there is null.

    Args:
        raw: JSON text stays JSON text.
    """
    columns = []
    for field in schema:
        column = table.column(field.name)
        if notation == "json" and not raw:
            column = plain_texts(column)
        columns.append(_typed(column, field.type))
    return pa.table(columns, schema=schema)


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    texts = measured(column)
    with contextlib.suppress(pa.ArrowInvalid):
        return texts.cast(kind)
    texts = numerals(texts)
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:  # an input of a bad row
        return pa.chunked_array([pa.array([_cell(text, kind) for text in texts], kind)])


def _cell(text: pa.Scalar, kind: pa.DataType) -> pa.Scalar | None:
    try:
        return text.cast(kind).as_py()
    except pa.ArrowInvalid:
        return None
