"""A table as the search holds it: numbers as one matrix, texts as codes, so that many processes can share its pages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.cases import Case
from trainer.columns import Column

Array = np.ndarray[Any, Any]
#: The code of a text that no row of the table has.
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows of raw columns.

    Attributes:
        numbers: float32, shape (rows, number columns), missing NaN.
        codes: int32, shape (rows, text columns); places in `texts`, or UNKNOWN.
        number_places, text_places: which raw column each of them is.
        texts: of each text column the values that it has, sorted; "" stands for missing.
    """

    numbers: Array
    codes: Array
    number_places: tuple[int, ...]
    text_places: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Array) -> "Encoded":
        return Encoded(self.numbers[rows], self.codes[rows], self.number_places, self.text_places, self.texts)


def encode(features: Sequence[Column]) -> Encoded:
    """Return every row of typed columns."""
    numbers = [index for index, column in enumerate(features) if column.kind == "number"]
    texts = [index for index, column in enumerate(features) if column.kind != "number"]
    rows = len(features[0].values)
    matrix = np.empty((rows, len(numbers)), dtype=np.float32)
    for place, index in enumerate(numbers):
        matrix[:, place] = features[index].values
    codes = np.empty((rows, len(texts)), dtype=np.int32)
    known = []
    for place, index in enumerate(texts):
        values, codes[:, place] = np.unique(features[index].values.astype(object), return_inverse=True)
        known.append(tuple(str(value) for value in values))
    return Encoded(matrix, codes, tuple(numbers), tuple(texts), tuple(known))


def encode_case(case: Case, like: Encoded) -> Encoded:
    """Return the rows of a proof in the codes of a table."""
    numbers = np.empty((case.rows, len(like.number_places)), dtype=np.float32)
    for place, index in enumerate(like.number_places):
        numbers[:, place] = case.columns[index]
    codes = np.full((case.rows, len(like.text_places)), UNKNOWN, dtype=np.int32)
    for place, index in enumerate(like.text_places):
        known = {text: code for code, text in enumerate(like.texts[place])}
        codes[:, place] = [known.get(str(value), UNKNOWN) for value in case.columns[index]]
    return Encoded(numbers, codes, like.number_places, like.text_places, like.texts)


def save_encoded(folder: Path, rows: Encoded) -> None:
    """Write the rows so that `load_encoded` maps them into memory."""
    np.save(folder / "numbers.npy", rows.numbers)
    np.save(folder / "codes.npy", rows.codes)
    about = {"numbers": rows.number_places, "texts": rows.text_places, "known": rows.texts}
    (folder / "columns.json").write_text(json.dumps(about))


def load_encoded(folder: Path) -> Encoded:
    about = json.loads((folder / "columns.json").read_text())
    return Encoded(
        np.load(folder / "numbers.npy", mmap_mode="r"),
        np.load(folder / "codes.npy", mmap_mode="r"),
        tuple(about["numbers"]),
        tuple(about["texts"]),
        tuple(tuple(texts) for texts in about["known"]),
    )
