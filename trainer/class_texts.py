"""Classes as the trainer spells them: a table's text for each class that a caller has, and back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from trainer.columns import type_label
from trainer.targets import labels_as_text

Array = np.ndarray[Any, Any]


class ClassTexts:
    """A one-to-one relation between classes and what a release calls them.

    Classes stay as they are where a table can carry them; where it would read one as missing, or two alike, such as ""
    or a date, they are called `class 0`, `class 1` and so on.

    Args:
        classes: all that there are, each once, shape (classes,).
    """

    def __init__(self, classes: Array) -> None:
        plain = classes.astype(object) if classes.dtype.kind in "bOU" else classes
        column = type_label("classes", pd.Series(plain))
        told = [] if column.kind == "time" or column.missing.any() else labels_as_text(column.values)
        as_it_is = len(set(told)) == len(classes)
        self._given = plain if as_it_is else np.array([f"class {place}" for place in range(len(classes))], dtype=object)
        self._place = {text: place for place, text in enumerate(told if as_it_is else self._given)}

    def of(self, places: Array) -> Array:
        """Return what a table carries for classes by their places, shape (rows,)."""
        given: Array = self._given[places]
        return given

    def places(self, labels: Iterable[Any]) -> Array:
        """Return the places of what a model answers, shape (rows,)."""
        return np.array([self._place[str(label)] for label in labels], dtype=np.intp)
