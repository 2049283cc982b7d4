"""How a column writes its points in time: one form, by which a graph can take its texts apart.

A text of another form is a missing value, there as here: so the form must be that of nearly all of a column's texts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np

from trainer.timestamps import ENOUGH, TIMESTAMP_SHARE

Array = np.ndarray[Any, Any]
Order = Literal["ymd", "dmy", "mdy"]
Zone = Literal["", "Z", "offset"]

ORDERS: tuple[Order, ...] = ("ymd", "dmy", "mdy")
MARKS, BETWEEN = ("-", "/", "."), (" ", "T", "")
ZONES: tuple[Zone, ...] = ("", "Z", "offset")
#: Texts by which forms are told apart at first.
FIRST = 50
#: Digits are ASCII ones and all else is spelt out: Python and RE2, which runs in the graph, then agree on each text.
_PARTS = {
    "y": "([12][0-9]{3})",
    "m": "(0?[1-9]|1[0-2])",
    "d": "(0?[1-9]|[12][0-9]|3[01])",
}
_CLOCK, _SECONDS = "([01]?[0-9]|2[0-3]):([0-5][0-9])", ":[0-5][0-9](?:[.,][0-9]{1,9})?"
_ZONES = {"": f"(?:{_SECONDS})?", "Z": f"{_SECONDS}Z", "offset": f"{_SECONDS} ?[+-][0-9]{{2}}:?(?:[0-9]{{2}})?"}


@dataclass(frozen=True)
class Form:
    """How the texts are written.

    Attributes:
        order: of year, month and day.
        mark: between them.
        between: date and time of day; "" where there is no time of day.
        zone: whether a zone follows. The hour is taken as it is written.
    """

    order: Order
    mark: str
    between: str = ""
    zone: Zone = ""

    @property
    def pattern(self) -> str:
        """A regular expression that means the same to Python and to RE2."""
        date = re.escape(self.mark).join(_PARTS[part] for part in self.order)
        return f"{date}{self.between}{_CLOCK}{_ZONES[self.zone]}" if self.between else date

    @property
    def example(self) -> str:
        """A text of this form."""
        date = self.mark.join({"y": "2024", "m": "01", "d": "01"}[part] for part in self.order)
        clock = {"": "00:00", "Z": "00:00:00Z", "offset": "00:00:00+00:00"}[self.zone]
        return f"{date}{self.between}{clock}" if self.between else date

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def fits(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are of this form."""
        return sum(self.compiled.fullmatch(text) is not None for text in texts)


def recognise(texts: Iterable[str]) -> Form | None:
    """Return the form of nearly all texts; None where there is none, or where day and month cannot be told apart."""
    different = [text for text in dict.fromkeys(texts) if text]
    different = different[:: max(1, len(different) // ENOUGH)]
    first = different[:: max(1, len(different) // FIRST)]
    forms = [
        form
        for order, mark, between, zone in product(ORDERS, MARKS, BETWEEN, ZONES)
        if (form := Form(order, mark, between, zone)).fits(first) and (between or not zone)
    ]
    found = sorted(((form.fits(different), form) for form in forms), key=lambda one: -one[0])
    if not found or found[0][0] < TIMESTAMP_SHARE * len(different):
        return None
    return None if len(found) > 1 and found[1][0] == found[0][0] else found[0][1]


def read(form: Form, texts: Array) -> Array:
    """Return year, month, day and minute of the day, shape (rows, 4), int64; a text of another form gives -1."""
    known: dict[str, tuple[int, ...]] = {}
    found = np.empty((len(texts), 4), dtype=np.int64)
    places = [form.order.index(part) for part in "ymd"]
    for row, text in enumerate(texts):
        if text not in known:
            match = form.compiled.fullmatch(str(text))
            known[text] = (-1, -1, -1, -1) if match is None else _numbers(match.groups(), places)
        found[row] = known[text]
    return found


def _numbers(groups: Sequence[str], places: Sequence[int]) -> tuple[int, ...]:
    minute = int(groups[3]) * 60 + int(groups[4]) if len(groups) > 3 else 0
    return (*(int(groups[place]) for place in places), minute)
