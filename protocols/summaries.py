"""What sketches are on the wire; `protocols.sketches` makes them with numpy, which an idle device does without."""

import msgspec


class NumericSummary(msgspec.Struct, frozen=True):
    """A numeric column's window on the wire. `count` counts finite values; `m2` is the sum of squared deviations."""

    kll: bytes
    count: int
    missing: int
    out_of_range: int
    mean: float
    m2: float


class CategorySummary(msgspec.Struct, frozen=True):
    """A text column's window on the wire. `unseen` counts values that training never saw."""

    items: bytes
    count: int
    missing: int
    unseen: int
