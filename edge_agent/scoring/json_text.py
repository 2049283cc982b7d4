"""Columns of JSON text: cells of a table as JSON, and what stood in a JSON file as cells of a table."""

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

_ESCAPED = r'["\\\x00-\x1f]'


def json_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each cell as JSON; null where it is missing, or a number that JSON does not have."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind)).cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    if pa.types.is_string(kind) and not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
        return pc.binary_join_element_wise('"', column, '"', "")
    return _encoded(column)


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def plain_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return columns of JSON as texts: a JSON text without its quotes, anything else as it stands, null for null."""
    texts = pc.if_else(pc.equal(column, "null"), pa.scalar(None, pa.string()), column)
    quoted = pc.starts_with(texts, '"')
    if not pc.any(quoted).as_py():
        return texts
    if pc.any(pc.and_(quoted, pc.match_substring(texts, "\\"))).as_py():
        found = [_decoded(text) for text in texts.to_pylist()]
        return pa.chunked_array([pa.array(found, pa.string())])
    return pc.if_else(quoted, pc.utf8_slice_codeunits(texts, 1, -1), texts)


def _decoded(text: str | None) -> str | None:
    return text if text is None or not text.startswith('"') else msgspec.json.decode(text, type=str)


def value_of(text: str | None) -> Any:
    """Return one cell of JSON text as a value; as the text where JSON's value is none of ours, such as 1e400."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
