"""Timestamps: which texts are dates, with or without a time of day. By their shape, so that no guess is made."""

import re
from collections.abc import Iterable

#: A column of texts with at least this share of timestamps is a column of timestamps with faults in it.
TIMESTAMP_SHARE = 0.95
#: Different texts that are looked at, about: of a million, one in a few hundred says as much.
ENOUGH = 5_000

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATES = (
    r"[12]\d{3}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])",  # 2024-01-31, 2024/1/31
    r"[12]\d{3}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?=T)",  # 20240131T101500
    r"(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2[12]\d{3}",  # 31.01.2024, 1/31/2024
    r"(?:0?[1-9]|[12]\d|3[01])/(?:0?[1-9]|[12]\d|3[01])/\d{2}",  # 31/01/24
    rf"\d{{1,2}}[- ]{_MONTH}[- ,]+(?:[12]\d{{3}}|\d{{2}})",  # 31-Jan-2024
    rf"{_MONTH} \d{{1,2}},? [12]\d{{3}}",  # Jan 31, 2024
    r"[12]\d{3}年\d{1,2}月\d{1,2}日",  # 2024年1月31日
)
_TIME = r"\d{1,2}:?\d{2}(?::?\d{2}(?:[.,]\d{1,9})?)?(?: ?[ap]m)?(?: ?(?:z|utc|gmt|[+-]\d{2}:?(?:\d{2})?))?"
_TIMESTAMP = re.compile(rf"(?:{'|'.join(_DATES)})(?:[t ]+{_TIME})?", re.IGNORECASE)


def is_timestamp(text: str) -> bool:
    """Whether a text is a date, with or without a time of day. A time of day alone is none: it comes again each day."""
    return _TIMESTAMP.fullmatch(text.strip()) is not None


def are_timestamps(texts: Iterable[str]) -> bool:
    """Whether nearly all of these texts are dates."""
    different = list(dict.fromkeys(texts))
    different = different[:: max(1, len(different) // ENOUGH)]
    found = sum(is_timestamp(text) for text in different)
    return bool(different) and found >= TIMESTAMP_SHARE * len(different)
