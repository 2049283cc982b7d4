"""What a caller in Python may give: tables in several forms; times and sizes as text, as on the command line."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from trainer.errors import RequestError
from trainer.tables import check_shape, read_table
from trainer.train_options import milliseconds, seconds, size

#: A pandas DataFrame, anything that has `to_pandas`, a mapping of columns, or the path of a file.
Tabular = Any


def table_of(given: Tabular, name: str = "the table") -> pd.DataFrame:
    """Return a table with text column names and a plain index.

    Raises:
        TableUnreadableError, EmptyTableError, ColumnNameRefusedError: as `read_table`.
        RequestError: it is no table.
    """
    if isinstance(given, str | Path):
        return read_table(given)
    if hasattr(given, "to_pandas"):
        given = given.to_pandas()
    if isinstance(given, Mapping):
        given = pd.DataFrame(dict(given))
    if not isinstance(given, pd.DataFrame):
        raise RequestError(
            f"{name} is a {type(given).__name__}: give a pandas DataFrame, a mapping of columns, or a file's path"
        )
    return check_shape(given, name)


def seconds_of(name: str, value: float | str) -> float:
    """Return a time in seconds: a number, or text such as `60s`, `5m`. Raises RequestError."""
    return _read(name, value, seconds)


def milliseconds_of(name: str, value: float | str | None) -> float | None:
    """Return a time in milliseconds: a number, or text such as `2ms`. Raises RequestError."""
    return None if value is None else _read(name, value, milliseconds)


def bytes_of(name: str, value: float | str | None) -> int | None:
    """Return a size in bytes: a number, or text such as `500kB`. Raises RequestError."""
    return None if value is None else int(_read(name, value, size))


def names_of(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names, of which one alone may stand for itself."""
    return (value,) if isinstance(value, str) else tuple(value)


def _read(name: str, value: float | str, read: Callable[[str], float]) -> float:
    try:
        return read(value) if isinstance(value, str) else float(value)
    except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
        raise RequestError(f"{name}: {error}") from error
