"""The types of a table that came as text: numbers become numbers in a form that has types, keys such as `007` stay."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from protocols.manifest import TensorSpec

#: Texts that mean "not measured" in a number's column, the same as pandas reads so in training.
MISSING_TEXTS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
#: No more digits than the type holds exactly, and no leading zeros: what a number would not give back is a key.
_FORMS = {
    "^(0|-?[1-9][0-9]{0,17})$": pa.int64(),
    r"^-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$": pa.float64(),
}


def column_types(
    batches: Iterable[pa.Table], names: Collection[str], inputs: Sequence[TensorSpec]
) -> dict[str, pa.DataType]:
    """Return which of the named columns are numbers, and of which type.

    Args:
        batches: the whole table, every column as text.
        inputs: what the model reads, which is decided already.
    """
    found: dict[str, pa.DataType] = {spec.name: _of_input(spec) for spec in inputs if spec.name in names}
    fitting = {name: list(_FORMS) for name in names if name not in found}
    seen: set[str] = set()
    for table in batches:
        for name in [name for name, forms in fitting.items() if forms]:
            texts = measured(table.column(name)).drop_null()
            fitting[name] = [form for form in fitting[name] if _all_match(texts, form)]
            if len(texts):
                seen.add(name)
    found |= {name: _FORMS[forms[0]] for name, forms in fitting.items() if forms and name in seen}
    return {name: kind for name, kind in found.items() if kind != pa.string()}


def typed(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return the table with the columns of these types; what was not measured is null there."""
    for name, kind in types.items():
        index = table.column_names.index(name)
        table = table.set_column(index, name, measured(table.column(name)).cast(kind))
    return table


def measured(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of texts trimmed, with null for every text that means "not measured"."""
    trimmed = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING_TEXTS, trimmed.type))
    return pc.if_else(missing, pa.scalar(None, trimmed.type), trimmed)


def numerals(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts with 1 for true and 0 for false, in any case: what they are to an input of numbers."""
    small = pc.utf8_lower(texts)
    one, zero = pa.scalar("1", texts.type), pa.scalar("0", texts.type)
    return pc.if_else(pc.equal(small, "true"), one, pc.if_else(pc.equal(small, "false"), zero, texts))


def _of_input(spec: TensorSpec) -> pa.DataType:
    return {"float32": pa.float64(), "int64": pa.int64()}.get(spec.dtype, pa.string())


def _all_match(texts: pa.ChunkedArray, form: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, form), min_count=0).as_py())
