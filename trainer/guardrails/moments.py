"""Points in time as numbers, by which rows are put in order and compared with the target."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from trainer.guardrails.rail import evenly

#: Texts that cannot be read as points in time, at most.
UNREADABLE = 0.05
#: What a text without a moment becomes: the earliest of all.
NO_MOMENT = int(np.iinfo(np.int64).min)


def moments(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Return the moments of texts in nanoseconds, int64, missing as `NO_MOMENT`; None where they cannot be read.

    Args:
        values: texts, missing "", shape (rows,).
    """
    texts = pd.Series(values, dtype=object)
    if any("年" in text for text in values[evenly(len(texts), 500)]):
        texts = texts.str.replace("[年月]", "-", regex=True).str.rstrip("日")
    texts = texts.mask(texts == "")
    present = texts.dropna()
    sample = present.iloc[evenly(len(present), 500)]
    best = min((False, True), key=lambda day_first: int(_parsed(sample, day_first=day_first).isna().sum()))
    read = _parsed(texts, day_first=best)
    if read.isna().sum() - texts.isna().sum() > UNREADABLE * len(texts):
        return None
    return np.asarray(read.to_numpy(dtype="datetime64[ns]").astype(np.int64))  # NaT is the least of them


def _parsed(texts: "pd.Series[Any]", *, day_first: bool) -> "pd.Series[Any]":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns where it falls back to guessing row by row
        read = pd.to_datetime(texts, errors="coerce", dayfirst=day_first, utc=True)
    return read.dt.tz_localize(None)
