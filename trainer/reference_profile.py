"""The reference profile: sketches of what the model was made from, against which the registry sees drift."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from protocols.manifest import TensorSpec
from protocols.reference import ReferenceProfile, encode_reference
from protocols.sketches import CategorySketch, NumericSketch
from trainer.columns import Column
from trainer.guardrails.values import MAX_CATEGORIES


def reference_bytes(features: Sequence[Column], output: np.ndarray[Any, Any], classes: Sequence[str]) -> bytes:
    """Return the file `reference`.

    Args:
        features: every row of the table.
        output: on held-out rows, since a model is surer of rows that it has learned than of any it will serve:
            probabilities (rows, classes) or predictions (rows,).
    """
    numeric, categories = {}, {}
    for column in features:
        if column.kind == "number":
            sketch = NumericSketch()
            sketch.update(column.values)
            numeric[column.name] = sketch.summary()
        elif column.cycles is None:  # no moment comes again, so all would be drift
            texts = CategorySketch()
            texts.update(column.values)
            categories[column.name] = texts.summary()
    outputs = {}
    followed = [(f"probability_{name}", output[:, index]) for index, name in enumerate(classes)]
    for name, values in followed or [("prediction", output)]:
        sketch = NumericSketch()
        sketch.update(values)
        outputs[name] = sketch.summary()
    rows = len(features[0].values)
    return encode_reference(ReferenceProfile(rows, numeric, categories, outputs))


def input_specs(features: Sequence[Column]) -> tuple[TensorSpec, ...]:
    """Describe the graph's inputs: type, unit where the name says one, range or values seen."""
    return tuple(_spec(column) for column in features)


def _spec(column: Column) -> TensorSpec:
    if column.kind == "number":
        present = column.values[~np.isnan(column.values)]
        low, high = (float(present.min()), float(present.max())) if len(present) else (None, None)
        return TensorSpec(column.name, "float32", unit=unit_of(column.name), low=low, high=high)
    if column.cycles is not None:
        return TensorSpec(column.name, "string")
    values, counts = np.unique(column.values[column.values != ""], return_counts=True)
    order = np.lexsort((values, -counts))[:MAX_CATEGORIES]
    return TensorSpec(column.name, "string", categories=tuple(str(value) for value in values[order]))


def unit_of(name: str) -> str | None:
    """Return the unit that a column's name ends in, as in `Torque [Nm]`, or None."""
    head, bracket, rest = name.rpartition("[")
    return rest[:-1].strip() or None if bracket and head and rest.endswith("]") else None
