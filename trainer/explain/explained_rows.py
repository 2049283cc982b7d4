"""The rows that `genba explain` looks at: a file's, and those that stand for *as usual*."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from protocols.manifest import Manifest, TensorSpec
from trainer.challenge import typed_as
from trainer.columns import Column, first_text, type_column
from trainer.errors import CandidateError, MissingColumnError, RequestError, TableError
from trainer.golden import HELD_OUT, held_out_rows
from trainer.tables import read_table

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of the file's rows followed by the usual ones, and the positions of both."""

    columns: tuple[Column, ...]
    asked: Array
    usual: Array

    def value(self, column: int, row: int) -> Any:
        return self.columns[column].values[self.asked[row]]


def read_rows(folder: Path, manifest: Manifest, data: Path, background: Path | None) -> Rows:
    """Read the rows of a file, and those learned from, or else some that travel with the release as golden vectors.

    Args:
        folder: the release, checked.
        background: a table whose rows stand for *as usual*.

    Raises:
        RequestError: the model does not take plain columns.
        TableError: a file is no table, lacks an input, or has text where a number is needed.
    """
    asked = input_columns(manifest, read_table(data), data.name)
    if background is not None:
        return beside(asked, input_columns(manifest, read_table(background), background.name))
    return beside(asked, usual_columns(folder, manifest))


def beside(asked: Sequence[Column], usual: Sequence[Column]) -> Rows:
    """Put the rows that are asked about, and the usual ones, under one another."""
    both = tuple(
        replace(one, values=np.concatenate([one.values, two.values])) for one, two in zip(asked, usual, strict=True)
    )
    count = len(asked[0].values)
    return Rows(both, np.arange(count), np.arange(count, len(both[0].values)))


def input_columns(manifest: Manifest, table: pd.DataFrame, name: str) -> list[Column]:
    """Return a table's columns as the model takes them.

    Args:
        name: what the table is called in errors.

    Raises:
        RequestError: the model does not take plain columns.
        TableError: it lacks an input, or has text where a number is needed.
    """
    if manifest.fed:
        raise RequestError(
            f"{manifest.release} takes windows, images or state: only models of plain columns can be asked here"
        )
    for spec in manifest.inputs:
        if spec.name not in table.columns:
            raise MissingColumnError(f"in {name}, the input", spec.name, table.columns)
    return [_column(spec, table[spec.name], name) for spec in manifest.inputs]


def _column(spec: TensorSpec, series: pd.Series, name: str) -> Column:
    column = typed_as(spec.name, spec.dtype, series)
    if column.kind == "number" and (column.missing & series.notna().to_numpy()).any():
        read = type_column(spec.name, series)
        if read.kind == "number" and not read.mixed:
            return read  # decimal commas, and what is infinite, as in training
        if read.mixed:
            row, text = first_text(series)
            raise TableError(f"{name}: {spec.name!r} is {text!r} in row {row + 1}, and the model takes a number there")
        raise TableError(f"{name}: {spec.name!r} holds no numbers, and the model takes numbers there")
    return column


def usual_columns(folder: Path, manifest: Manifest) -> list[Column]:
    """Return the held-out rows among a release's golden vectors, which come first.

    The rows after them are made up (missing, unseen and extreme values), and nothing is as usual in them.

    Raises:
        CandidateError: they cannot be read, or there are none.
    """
    try:
        with (folder / "golden.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = [arrays[f"input_{index}"].reshape(-1) for index in range(len(manifest.inputs))]
            told = int(arrays[HELD_OUT]) if HELD_OUT in arrays else None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CandidateError(f"{folder}: golden.npz: {error}; give --background FILE") from error
    count = held_out_rows(manifest, len(found[0]), told)
    if not count:
        raise CandidateError(f"{folder}: golden.npz holds no rows as usual; give --background FILE")
    return [
        Column(spec.name, "number" if spec.dtype == "float32" else "category", _as(spec, values[:count]))
        for spec, values in zip(manifest.inputs, found, strict=True)
    ]


def _as(spec: TensorSpec, values: Array) -> Array:
    return values.astype(np.float32 if spec.dtype == "float32" else object)


def pick(rows: Rows, first: Sequence[int]) -> Rows:
    """The same with some of the file's rows alone."""
    return replace(rows, asked=rows.asked[np.asarray(first, dtype=int)])
