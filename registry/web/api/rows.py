"""Labelled rows: inputs with the truth that came later."""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Blueprint, request

from registry.errors import RequestRefusedError
from registry.web.context import context
from registry.web.documents import RowsReply
from registry.web.operations import operation

rows = Blueprint("rows", __name__, url_prefix="/api/v1/models/<model>/rows")

LIMIT_BYTES = 64 * 1024 * 1024
_CSV = "text/csv"
_scalars = msgspec.json.Decoder(dict[str, float | int | bool | str | None])


@rows.post("")
@operation(
    "Send labelled rows",
    "labelled rows",
    body_media=("application/x-ndjson", _CSV),
    reply=RowsReply,
    status=201,
    errors=(404, 413),
)
def post_rows(model: str) -> RowsReply:
    """JSON Lines, or CSV with a header line. Every row holds the model's target; all are kept, or none is.

    Retraining learns from them, and compares champion and challenger on the newest.
    """
    request.max_content_length = LIMIT_BYTES
    parts = context()
    parts.catalogue.models.get(model)
    newest = parts.catalogue.releases.latest(model)
    target = newest.manifest.target if newest else ""
    try:
        text = request.get_data().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestRefusedError("body", f"not UTF-8 at byte {error.start}; save the table as UTF-8") from error
    found = _from_csv(text) if request.mimetype == _CSV else _from_json_lines(text)
    checked = [_checked(row, number, target) for number, row in found]
    if not checked:
        raise RequestRefusedError("body", "it holds no rows; send JSON Lines, or CSV with a header line")
    return RowsReply(parts.catalogue.rows.append(model, checked, parts.clock()))


def _from_json_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, _scalars.decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                raise RequestRefusedError(
                    f"line {number}", f"{error}; each line is one JSON object of numbers and texts"
                ) from error


def _from_csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                wanted = len(reader.fieldnames or ())
                raise RequestRefusedError(f"line {reader.line_num}", f"does not have the header's {wanted} columns")
            yield reader.line_num, {name: _value(value) for name, value in row.items()}
    except csv.Error as error:
        raise RequestRefusedError(f"line {reader.line_num}", f"not CSV: {error}") from error


def _value(text: str) -> float | str | None:
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def _checked(row: dict[str, Any], number: int, target: str) -> dict[str, Any]:
    if row.get(target) is None:
        raise RequestRefusedError(
            f"line {number}", f"lacks a value for the target {target!r}; a labelled row holds the truth"
        )
    return row
