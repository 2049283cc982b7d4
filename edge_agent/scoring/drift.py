"""How far a scored file lies from the data that the release was chosen on, by the registry's own rule.

A sample of the rows tells it: of a long file about a hundred thousand, drawn evenly, and the same in each run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from edge_agent.inference import Predictions
from protocols.drift import FeatureDrift, judge_categories, judge_numbers
from protocols.manifest import Manifest
from protocols.reference import ReferenceProfile
from protocols.sketches import CategorySketch, NumericSketch
from protocols.summaries import CategorySummary, NumericSummary

Array = np.ndarray[Any, Any]
SAMPLE_ROWS = 100_000
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a policy says unless it is told otherwise."""

    psi_threshold: float = 0.2
    ks_threshold: float = 0.2
    missing_threshold: float = 0.1
    alpha: float = 0.001


class DriftState(msgspec.Struct, frozen=True):
    """What was seen, as a checkpoint keeps it. Of `every` rows, one is looked at; 0: that is not known yet."""

    every: float = 0.0
    rows: int = 0
    seen: int = 0
    numeric: dict[str, NumericSummary] = {}
    categories: dict[str, CategorySummary] = {}
    outputs: dict[str, NumericSummary] = {}
    labels: dict[str, int] = {}


class OutputSummary(msgspec.Struct, frozen=True):
    """How one output is distributed. `quantiles` are those of 5, 50 and 95 %."""

    output: str
    mean: float
    quantiles: tuple[float, ...]
    drift: FeatureDrift | None


class Drift(msgspec.Struct, frozen=True):
    """The file beside the reference profile. `features` is empty where the release has none.

    `rows` were looked at; `labels` counts the predictions of a classifier among them.
    """

    rows: int
    features: tuple[FeatureDrift, ...]
    outputs: tuple[OutputSummary, ...]
    labels: dict[str, int]

    @property
    def drifted(self) -> list[FeatureDrift]:
        return [feature for feature in self.features if feature.drifted]


class DriftWatch:
    """Sketches what is scored. Not thread-safe."""

    def __init__(self, manifest: Manifest, state: DriftState | None = None) -> None:
        state = state or DriftState()
        self._manifest = manifest
        self._every = state.every
        self._rows, self._seen = state.rows, state.seen
        texts = [spec.name for spec in manifest.inputs if spec.dtype == "string"]
        self._numeric = {
            spec.name: _numbers(state.numeric, spec.name) for spec in manifest.inputs if spec.name not in texts
        }
        self._categories = {name: _categories(state.categories, name) for name in texts}
        names = [f"probability_{name}" for name in manifest.classes] or ["prediction"]
        self._outputs = {name: _numbers(state.outputs, name) for name in names}
        self._labels = dict(state.labels)

    def expect(self, rows: float) -> None:
        """Settle how many rows are looked at; the first call counts.

        Args:
            rows: about how many there will be.
        """
        self._every = self._every or max(1.0, rows / SAMPLE_ROWS)

    def add(self, columns: Sequence[Array], predictions: Predictions | None) -> None:
        """Look at some rows of a batch; the predictions are those of its last rows, or of all."""
        count = len(columns[0])
        rows = self._drawn(count)
        self._seen += count
        self._rows += len(rows)
        for spec, column in zip(self._manifest.inputs, columns, strict=True):
            values = column[rows, 0]
            if spec.dtype == "string":
                known = frozenset(spec.categories) if spec.categories is not None else None
                self._categories[spec.name].update(values, known=known)
            else:
                self._numeric[spec.name].update(values, low=spec.low, high=spec.high)
        if predictions is not None:
            rows = rows - (count - len(predictions))
            self._add_outputs(rows[rows >= 0], predictions)

    def _add_outputs(self, rows: Array, predictions: Predictions) -> None:
        if self._manifest.classes:
            for label, count in zip(*np.unique(predictions.values[rows].astype(str), return_counts=True), strict=True):
                self._labels[str(label)] = self._labels.get(str(label), 0) + int(count)
        if predictions.probabilities is not None:
            for name, share in zip(self._outputs, predictions.probabilities[rows].T, strict=True):
                self._outputs[name].update(share)
        elif predictions.values.dtype.kind in "fi" and not self._manifest.classes:
            self._outputs["prediction"].update(predictions.values[rows])

    def _drawn(self, rows: int) -> Array:
        """Return the places of the rows to look at."""
        if self._every <= 1.0:
            return np.arange(rows)
        return np.flatnonzero(np.random.default_rng(self._seen).random(rows) < 1.0 / self._every)

    def state(self) -> DriftState:
        return DriftState(
            self._every,
            self._rows,
            self._seen,
            {name: sketch.summary() for name, sketch in self._numeric.items()},
            {name: sketch.summary() for name, sketch in self._categories.items()},
            {name: sketch.summary() for name, sketch in self._outputs.items()},
            self._labels,
        )

    def judged(self, reference: ReferenceProfile | None) -> Drift:
        """Compare with the reference profile."""
        limits = _Limits()
        features: list[FeatureDrift] = []
        known = reference if reference is not None and reference.rows else None
        alpha = limits.alpha / max(1, 3 * len(self._manifest.inputs))
        if known is not None and self._rows:
            for name, numbers in self._numeric.items():
                if name in known.numeric:
                    before = NumericSketch.of(known.numeric[name])
                    features.append(judge_numbers(name, before, numbers, limits, alpha))
            for name, texts in self._categories.items():
                if name in known.categories:
                    seen = CategorySketch.of(known.categories[name])
                    features.append(judge_categories(name, seen, texts, limits, alpha))
        outputs = [_output(name, sketch, known, limits, alpha) for name, sketch in self._outputs.items()]
        return Drift(self._rows, tuple(features), tuple(each for each in outputs if each), self._labels)


def _output(
    name: str, sketch: NumericSketch, known: ReferenceProfile | None, limits: _Limits, alpha: float
) -> OutputSummary | None:
    if not sketch.count:
        return None
    drift = None
    if known is not None and name in known.outputs:
        drift = judge_numbers(name, NumericSketch.of(known.outputs[name]), sketch, limits, alpha)
    quantiles = tuple(float(value) for value in sketch.quantiles(list(_QUANTILES)))
    return OutputSummary(name, sketch.mean, quantiles, drift)


def _numbers(kept: Mapping[str, NumericSummary], name: str) -> NumericSketch:
    return NumericSketch.of(kept[name]) if name in kept else NumericSketch()


def _categories(kept: Mapping[str, CategorySummary], name: str) -> CategorySketch:
    return CategorySketch.of(kept[name]) if name in kept else CategorySketch()
