"""A table as the search holds it: numbers as one matrix, texts as codes, so that many processes can share its pages."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer.cases import Case
from trainer.columns import Column
from trainer.cycles import Cycles
from trainer.timestamp_forms import Form

Array = np.ndarray[Any, Any]
#: The code of a text that no row of the table has.
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows of raw columns.

    Attributes:
        numbers: float32, shape (rows, number columns), missing NaN; those of points in time come last.
        codes: int32, shape (rows, text columns); places in `texts`, or UNKNOWN.
        number_places, text_places: which raw column each of them is.
        texts: of each text column the values that it has, sorted; "" stands for missing.
        cycles: of each column of points in time what its numbers are.
    """

    numbers: Array
    codes: Array
    number_places: tuple[int, ...]
    text_places: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]
    cycles: tuple[Cycles, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Array) -> "Encoded":
        return replace(self, numbers=self.numbers[rows], codes=self.codes[rows])

    @property
    def plain(self) -> tuple[int, ...]:
        """Raw columns that are numbers."""
        return self.number_places[: len(self.number_places) - sum(one.width for one in self.cycles)]

    @property
    def timed(self) -> tuple[int, ...]:
        """Raw columns that are points in time, one for each of `cycles`."""
        return tuple(dict.fromkeys(self.number_places[len(self.plain) :]))


def encode(features: Sequence[Column]) -> Encoded:
    """Return every row of typed columns."""
    numbers = [index for index, column in enumerate(features) if column.kind == "number"]
    times = [(index, column.cycles) for index, column in enumerate(features) if column.cycles is not None]
    texts = [index for index, column in enumerate(features) if column.kind != "number" and column.cycles is None]
    rows, cycles = len(features[0].values), tuple(one for _, one in times)
    matrix = _numbers([column.values for column in features], rows, numbers, times)
    number_places = (*numbers, *(index for index, one in times for _ in range(one.width)))
    codes = np.empty((rows, len(texts)), dtype=np.int32)
    known = []
    for place, index in enumerate(texts):
        values, codes[:, place] = np.unique(features[index].values.astype(object), return_inverse=True)
        known.append(tuple(str(value) for value in values))
    return Encoded(matrix, codes, number_places, tuple(texts), tuple(known), cycles)


def encode_case(case: Case, like: Encoded) -> Encoded:
    """Return the rows of a proof in the codes of a table."""
    times = list(zip(like.timed, like.cycles, strict=True))
    numbers = _numbers(case.columns, case.rows, like.plain, times)
    codes = np.full((case.rows, len(like.text_places)), UNKNOWN, dtype=np.int32)
    for place, index in enumerate(like.text_places):
        known = {text: code for code, text in enumerate(like.texts[place])}
        codes[:, place] = [known.get(str(value), UNKNOWN) for value in case.columns[index]]
    return replace(like, numbers=numbers, codes=codes)


def _numbers(columns: Sequence[Array], rows: int, plain: Sequence[int], times: Sequence[tuple[int, Cycles]]) -> Array:
    """Numbers as they are, and then those of points in time."""
    matrix = np.empty((rows, len(plain) + sum(one.width for _, one in times)), dtype=np.float32)
    for place, index in enumerate(plain):
        matrix[:, place] = columns[index]
    start = len(plain)
    for index, cycles in times:
        matrix[:, start : start + cycles.width] = cycles.numbers(columns[index])
        start += cycles.width
    return matrix


def save_encoded(folder: Path, rows: Encoded) -> None:
    """Write the rows so that `load_encoded` maps them into memory."""
    np.save(folder / "numbers.npy", rows.numbers)
    np.save(folder / "codes.npy", rows.codes)
    cycles = [asdict(one) for one in rows.cycles]
    about = {"numbers": rows.number_places, "texts": rows.text_places, "known": rows.texts, "cycles": cycles}
    (folder / "columns.json").write_text(json.dumps(about))


def load_encoded(folder: Path) -> Encoded:
    about = json.loads((folder / "columns.json").read_text())
    return Encoded(
        np.load(folder / "numbers.npy", mmap_mode="r"),
        np.load(folder / "codes.npy", mmap_mode="r"),
        tuple(about["numbers"]),
        tuple(about["texts"]),
        tuple(tuple(texts) for texts in about["known"]),
        tuple(Cycles(Form(**one["form"]), tuple(one["parts"])) for one in about["cycles"]),
    )
