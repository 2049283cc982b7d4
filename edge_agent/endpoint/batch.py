"""What a model can be run on, read from one call."""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Batch(NamedTuple):
    """`columns` as the graph takes them; `missing`: values not measured; `outside`: out of the range of training."""

    columns: list[Array]
    rows: int
    missing: int
    outside: int
