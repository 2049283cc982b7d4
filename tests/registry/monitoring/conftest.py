"""Real readings and profiles made of them."""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.messages import Telemetry
from protocols.reference import ReferenceProfile
from protocols.sketches import CategorySketch, NumericSketch

DATA = Path(__file__).parents[4] / "shared" / "data"
Array = np.ndarray[Any, Any]


def read_columns(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))
    return {name: [row[index] for row in rows[1:]] for index, name in enumerate(rows[0])}


@pytest.fixture(scope="session")
def ccpp() -> dict[str, Array]:
    """The power plant's four sensors, in the file's order, which is random."""
    columns = read_columns(DATA / "ccpp" / "ccpp.csv.gz")
    return {name: np.array(values, dtype=np.float32) for name, values in columns.items() if name != "PE"}


@pytest.fixture(scope="session")
def sketched() -> Callable[[Array], NumericSketch]:
    def make(values: Array) -> NumericSketch:
        sketch = NumericSketch()
        sketch.update(values)
        return sketch

    return make


@pytest.fixture(scope="session")
def profile_of() -> Callable[[dict[str, Array]], ReferenceProfile]:
    def make(columns: dict[str, Array]) -> ReferenceProfile:
        numeric, categories = _sketches(columns)
        return ReferenceProfile(
            len(next(iter(columns.values()))),
            {name: sketch.summary() for name, sketch in numeric.items()},
            {name: sketch.summary() for name, sketch in categories.items()},
            {},
        )

    return make


@pytest.fixture(scope="session")
def window_of() -> Callable[..., Telemetry]:
    def make(
        columns: dict[str, Array], start: float = 0.0, end: float = 60.0, stream: str = "line", version: int = 1
    ) -> Telemetry:
        numeric, categories = _sketches(columns)
        return Telemetry(
            id=1,
            stream=stream,
            model="ccpp",
            version=version,
            provider="CPUExecutionProvider",
            start=start,
            end=end,
            predictions=len(next(iter(columns.values()))),
            rejected={"not-json": 1},
            dropped=2,
            bytes_in=100,
            latency=NumericSketch().summary(),
            numeric={name: sketch.summary() for name, sketch in numeric.items()},
            categories={name: sketch.summary() for name, sketch in categories.items()},
            outputs={},
        )

    return make


def _sketches(columns: dict[str, Array]) -> tuple[dict[str, NumericSketch], dict[str, CategorySketch]]:
    numeric: dict[str, NumericSketch] = {}
    categories: dict[str, CategorySketch] = {}
    for name, values in columns.items():
        if values.dtype.kind == "f":
            numeric[name] = NumericSketch()
            numeric[name].update(values)
        else:
            categories[name] = CategorySketch()
            categories[name].update(values)
    return numeric, categories
