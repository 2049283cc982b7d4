"""The reasons that a prediction carries: the inputs that added most to it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def largest(names: Sequence[str], contributions: Array, most: int) -> Iterator[dict[str, float]]:
    """Yield for each row its largest contributions by size, largest first; inputs that added nothing are left out.

    Args:
        names: of the inputs.
        contributions: what each of them added, float32, shape (rows, inputs).
        most: how many are told of a row.
    """
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(contributions, order, axis=1)
    for places, added in zip(order.tolist(), values.tolist(), strict=True):
        # Shortest text that is the same float32: half the bytes of its digits as a double.
        yield {names[place]: float(f"{value:.6g}") for place, value in zip(places, added, strict=True) if value}
