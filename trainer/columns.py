"""What a column is: numbers (float32, missing NaN), categories or points in time (text, missing "")."""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from trainer.cycles import Cycles
from trainer.timestamps import ENOUGH, TIMESTAMP_SHARE, are_timestamps, is_timestamp

Kind = Literal["number", "category", "time"]

#: A column whose values are numbers in at least this share is a number column with faults in it.
NUMBER_SHARE = 0.5
#: Two kinds of values change places once: so many of either at least, and so large a share of the rarer out of place.
TURN_ROWS, TURN_SHARE = 10, 0.1
_COMMA = re.compile(r"\s*[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][+-]?\d+)?\s*")
#: What texts of nothing but true and false say, in any case; as numbers.
_TRUTHS = {"true": 1.0, "false": 0.0}
#: What may be a whole number with its thousands parted.
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")
#: From here on float32 takes two whole numbers for one.
_MERGED = 2.0**24


@dataclass(frozen=True, slots=True)
class Column:
    """One typed column.

    Attributes:
        values: float32, or objects that are all str; shape (rows,).
        mixed: how many values are of another kind than the column's.
        mixed_with: what they are: texts, numbers or points in time.
        examples: a few of them.
        infinite: how many numbers were infinite; they are missing now.
        integral: every number present is whole.
        commas: how many numbers were written with a decimal comma.
        turn: where the kind of the values changes, in words; "" where the kinds are scattered.
        cycles: what is learned of points in time; None: they are categories.
        exact: the numbers as they were read, where float32 takes different whole ones for one; shape (rows,). None: it
            takes none so.
    """

    name: str
    kind: Kind
    values: np.ndarray[Any, Any]
    mixed: int = 0
    mixed_with: str = ""
    examples: tuple[str, ...] = ()
    infinite: int = 0
    integral: bool = False
    commas: int = 0
    turn: str = ""
    cycles: Cycles | None = None
    exact: np.ndarray[Any, Any] | None = None

    @property
    def missing(self) -> np.ndarray[Any, Any]:
        """Which rows lack a value, shape (rows,)."""
        gone: np.ndarray[Any, Any] = np.isnan(self.values) if self.kind == "number" else self.values == ""
        return gone

    @property
    def told_apart(self) -> np.ndarray[Any, Any]:
        """Values by which different rows can be told apart, shape (rows,); where `missing`, they may be anything."""
        return self.values if self.exact is None else self.exact


def type_column(name: str, series: pd.Series) -> Column:
    """Decide what a column is and convert it.

    Booleans, and texts that say nothing but true and false, are the numbers 0 and 1. Text that is a number in at least
    half of its values is a number column whose other values are missing; below that it is a category whose numbers are
    text. A decimal comma is read as a point, unless it may part thousands. Text that is a date, with or without a time
    of day, is a point in time.
    """
    if pd.api.types.is_bool_dtype(series.dtype):
        return _number(name, series.astype("Float64"))
    column = type_label(name, series)
    said = _truths(column) if column.kind == "category" else None
    return column if said is None else _number(name, said)


def type_label(name: str, series: pd.Series) -> Column:
    """As `type_column`, of what names classes: true and false stay words."""
    if pd.api.types.is_datetime64_any_dtype(series.dtype) or pd.api.types.is_timedelta64_dtype(series.dtype):
        return Column(name, "time", _text(series))
    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
        return _number(name, pd.to_numeric(series, errors="coerce"))
    return _from_text(name, series)


def first_text(series: pd.Series) -> tuple[int, str]:
    """Return the first value of a `mixed` number column that is no number: its row, from 0, and the text."""
    text = pd.Series(_text(series), dtype=object)
    others = text[(text != "") & _numbers(text)[0].isna()]
    return int(others.index[0]), str(others.iloc[0])


def _from_text(name: str, series: pd.Series) -> Column:
    text = _text(series)
    codes, different = pd.factorize(text)
    read, with_comma = _numbers(pd.Series(different, dtype=object))
    numbers, present = read.to_numpy(dtype=np.float64)[codes], (different != "")[codes]
    numeric, dated = ~np.isnan(numbers), _dated(codes, different)
    others, undated, count = present & ~numeric, present & ~dated, int(numeric.sum())
    turn = _turn(numeric, present, "numbers", _called(dated[others], "points in time"))
    if count and count >= NUMBER_SHARE * int(present.sum()):
        column = _number(name, pd.Series(numbers))
        column = replace(column, mixed=int(others.sum()), mixed_with="texts", examples=_first(text[others]), turn=turn)
        return replace(column, commas=int(with_comma[codes].sum()))
    dates_turn = _turn(dated, present, "points in time", _called(numeric[undated], "numbers"))
    kind: Kind = "category"
    odd, odd_kind = numeric, "numbers"
    if are_timestamps(different[different != ""]):
        kind, odd, odd_kind, turn = "time", undated, _called(numeric[undated], "numbers"), dates_turn
    elif dates_turn and not turn:
        odd, odd_kind, turn = dated, "points in time", dates_turn
    return Column(name, kind, text, int(odd.sum()), odd_kind, _first(text[odd]), turn=turn)


def _first(texts: np.ndarray[Any, Any]) -> tuple[str, ...]:
    return tuple(pd.unique(texts)[:3])


def _called(of_kind: np.ndarray[Any, Any], words: str) -> str:
    """What to call values, of which so many are of that kind: by it if nearly all are, else texts."""
    return words if len(of_kind) and float(of_kind.mean()) >= TIMESTAMP_SHARE else "texts"


def _dated(codes: np.ndarray[Any, Any], different: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which rows hold a date, shape (rows,).

    Rows that are spread evenly say first whether it is worth looking at every text: where all of them hold a date, or
    none does, all others are taken for such.
    """
    sample = different[np.unique(codes[:: max(1, len(codes) // ENOUGH)])]
    found = [is_timestamp(text) for text in sample if text]
    if all(found) or not any(found):
        of_text = (different != "") & any(found)
    else:
        of_text = np.array([is_timestamp(text) for text in different], dtype=bool)
    return np.asarray(of_text[codes])


def _numbers(text: pd.Series) -> tuple[pd.Series, np.ndarray[Any, Any]]:
    """The texts as numbers, NaN where they are none, and which were written with a decimal comma."""
    numbers = pd.to_numeric(text.where(text != ""), errors="coerce")
    commas = numbers.isna().to_numpy() & np.array([_COMMA.fullmatch(each) is not None for each in text], dtype=bool)
    written = text[commas]
    if not len(written) or all(_THOUSANDS.fullmatch(each) for each in written):
        return numbers, np.zeros(len(text), dtype=bool)
    numbers = numbers.copy()
    numbers[commas] = pd.to_numeric(written.str.replace(".", "").str.replace(",", "."))
    return numbers, commas


def _turn(of_kind: np.ndarray[Any, Any], present: np.ndarray[Any, Any], kind: str, other: str) -> str:
    """Where values of a kind become others, or others become such, if that happens once.

    Args:
        of_kind: which values are of the kind.
        present: which rows have a value.
        kind, other: what to call the two.
    """
    places = np.flatnonzero(present)
    before = np.concatenate([[0], np.cumsum(of_kind[places])])
    total, rows = int(before[-1]), len(places)
    if min(total, rows - total) < TURN_ROWS:
        return ""
    cuts = np.arange(rows + 1)
    wrong = before + (rows - cuts) - (total - before)  # those of the kind before the cut, others from it on
    for misplaced, first, then in ((wrong, other, kind), (rows - wrong, kind, other)):
        cut = int(misplaced.argmin())
        if misplaced[cut] <= TURN_SHARE * min(total, rows - total):
            return f"{first} up to about row {int(places[cut - 1]) + 1}, {then} from there on"
    return ""


def _truths(column: Column) -> pd.Series | None:
    """Texts as 1 for true and 0 for false, NaN where missing; None where one of them says something else."""
    present = column.values[~column.missing]
    if not len(present) or present[0].strip().lower() not in _TRUTHS:
        return None
    codes, different = pd.factorize(present)
    said = [_TRUTHS.get(text.strip().lower()) for text in different]
    if None in said:
        return None
    numbers = np.full(len(column.values), np.nan)
    numbers[~column.missing] = np.array(said)[codes]
    return pd.Series(numbers)


def _number(name: str, series: pd.Series) -> Column:
    read = series.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = read.astype(np.float32)
    infinite = np.isinf(values)
    values[infinite] = np.nan
    finite = read[np.isfinite(values)]
    integral = bool(finite.size) and bool((finite == np.round(finite)).all())
    merged = bool(finite.size) and max(float(finite.max()), -float(finite.min())) >= _MERGED
    whole = isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu"  # float64 merges, too, from 2**53 on
    exact = (series.to_numpy() if whole else read) if merged else None
    return Column(name, "number", values, infinite=int(infinite.sum()), integral=integral, exact=exact)


def _text(series: pd.Series) -> np.ndarray[Any, Any]:
    """Values as str as they stand, missing as "", shape (rows,), dtype object."""
    missing = series.isna().to_numpy()
    if pd.api.types.infer_dtype(series, skipna=True) == "string":  # at once, where nothing needs to be spelt
        codes, different = pd.factorize(series)  # one object for each value, not for each row
        texts: np.ndarray[Any, Any] = np.append(np.asarray(different, dtype=object), "")[codes]
        return texts
    plain = series.to_numpy(dtype=object)
    values = ["" if gone else str(value) for value, gone in zip(plain, missing, strict=True)]
    return np.array(values, dtype=object)


def internal_name(index: int) -> str:
    """Return what the raw column is called in a data frame that no name of a plant's may confuse."""
    return f"c{index}"
