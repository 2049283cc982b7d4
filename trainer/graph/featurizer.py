"""The featurizer: raw named columns to the matrix that models learn from. It travels inside the graph.

What it computes in numpy it computes in the graph with the same operations in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.preprocessing import TargetEncoder

from trainer.columns import Column
from trainer.graph.builder import FLOAT, GraphBuilder
from trainer.graph.cycle_graph import write_cycles
from trainer.graph.encoded import Array, Encoded

#: raw: numbers as they are, missing ones too, which trees split on. scaled: missing to the median, then zero mean and
#: unit deviation. smooth: the same by median and quartiles, and far values drawn in (Holzmueller, Grinsztajn,
#: Steinwart, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular Data", 2024).
MatrixKind = Literal["raw", "scaled", "smooth"]

#: One column for each of the most frequent values of a text; with more values, a column of target means as well.
ONE_HOT = {"raw": 16, "scaled": 64, "smooth": 64}
#: Numbers missing in at least this share of rows get a column that says so, where NaN itself is not kept.
TOLD_MISSING = 0.01
#: Parts of the rows whose target means come from the others.
MEANS_PARTS = 3
#: Beyond so many deviations a value is drawn in.
SMOOTH = np.float32(3.0)
#: Farther than so many deviations is as far as this: the square of more would be infinite.
FAR = np.float32(1e6)


@dataclass(frozen=True, slots=True)
class Featurizer:
    """Fitted on some rows; see MatrixKind.

    Attributes:
        median, center, scale: float32, shape (number columns,).
        told: places of the number columns whose missing values are told.
        hot: of each text column the codes that have a column, in order.
        means: of each text column, or None: target means by code and then that of any other text, shape
            (codes + 1, outputs).
    """

    kind: MatrixKind
    median: Array
    center: Array
    scale: Array
    told: Array
    hot: tuple[Array, ...]
    means: tuple[Array | None, ...]

    def transform(self, rows: Encoded) -> Array:
        """Return float32, shape (rows, width)."""
        parts = [self._numbers(rows.numbers)]
        if self.kind != "raw" and len(self.told):
            parts.append(np.isnan(rows.numbers[:, self.told]).astype(np.float32))
        for place, hot in enumerate(self.hot):
            parts.append((rows.codes[:, place, None] == hot[None, :]).astype(np.float32))
        for place, means in enumerate(self.means):
            if means is not None:
                parts.append(means[rows.codes[:, place]])
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def origins(self, rows: Encoded) -> Array:
        """Return the raw column that each column of the matrix comes from, shape (width,)."""
        found = list(rows.number_places)
        if self.kind != "raw":
            found += [rows.number_places[place] for place in self.told]
        for place, hot in enumerate(self.hot):
            found += [rows.text_places[place]] * len(hot)
        for place, means in enumerate(self.means):
            found += [rows.text_places[place]] * (0 if means is None else means.shape[1])
        return np.array(found, dtype=np.int64)

    def _numbers(self, numbers: Array) -> Array:
        if self.kind == "raw":
            return np.asarray(numbers)
        with np.errstate(over="ignore"):
            scaled = (np.where(np.isnan(numbers), self.median, numbers) - self.center) / self.scale
            if self.kind == "smooth":
                scaled = np.clip(scaled, -FAR, FAR)
                drawn = scaled / SMOOTH
                scaled = scaled / np.sqrt(drawn * drawn + np.float32(1.0))
        return np.asarray(scaled, dtype=np.float32)

    def write(self, builder: GraphBuilder, names: Sequence[str], rows: Encoded, times: Sequence[str] = ()) -> str:
        """Add the featurizer to a graph and return the tensor of its matrix, shape (rows, width).

        Args:
            names: of the inputs, by raw column.
            rows: any rows of the table, for what its columns are.
            times: what `write_times` returned for them; several featurizers share it.
        """
        parts = []
        if rows.number_places:
            numbers = _joined(builder, [*(names[place] for place in rows.plain), *times])
            parts.append(self._write_numbers(builder, numbers))
            if self.kind != "raw" and len(self.told):
                some = builder.add("Gather", numbers, builder.constant(self.told, np.int64), axis=1)
                parts.append(builder.add("Cast", builder.add("IsNaN", some), to=FLOAT))
        for place, hot in enumerate(self.hot):
            if len(hot):
                parts.append(_write_hot(builder, names[rows.text_places[place]], [rows.texts[place][c] for c in hot]))
        for place, means in enumerate(self.means):
            if means is not None:
                parts.append(_write_means(builder, names[rows.text_places[place]], rows.texts[place], means))
        return _joined(builder, parts)

    def _write_numbers(self, builder: GraphBuilder, numbers: str) -> str:
        if self.kind == "raw":
            return numbers
        filled = builder.add("Where", builder.add("IsNaN", numbers), builder.constant(self.median[None]), numbers)
        shifted = builder.add("Sub", filled, builder.constant(self.center[None]))
        scaled = builder.add("Div", shifted, builder.constant(self.scale[None]))
        if self.kind != "smooth":
            return scaled
        scaled = builder.add("Clip", scaled, builder.constant(-FAR), builder.constant(FAR))
        drawn = builder.add("Div", scaled, builder.constant(SMOOTH))
        square = builder.add("Add", builder.add("Mul", drawn, drawn), builder.constant(np.float32(1.0)))
        return builder.add("Div", scaled, builder.add("Sqrt", square))


def fit_featurizer(kind: MatrixKind, rows: Encoded, target: Array, classes: int, seed: int) -> tuple[Featurizer, Array]:
    """Fit on rows and return the featurizer and the matrix to learn from.

    In that matrix the target means of a row come from other rows than itself: its own answer would give it away.

    Args:
        target: float, shape (rows,), or places among the classes.
        classes: 0 for a regression.
    """
    numbers = rows.numbers
    missing = np.isnan(numbers)
    median, center, scale = _scales(kind, numbers)
    told = np.flatnonzero(missing.mean(axis=0) >= TOLD_MISSING) if len(numbers) else np.empty(0, dtype=np.int64)
    hot: list[Array] = []
    means: list[Array | None] = []
    learned: list[Array] = []
    for place in range(rows.codes.shape[1]):
        codes = np.asarray(rows.codes[:, place])
        counts = np.bincount(codes, minlength=len(rows.texts[place]))
        present = np.flatnonzero(counts)
        order = present[np.argsort(-counts[present], kind="stable")]
        hot.append(np.sort(order[: ONE_HOT[kind]]))
        if len(present) <= ONE_HOT[kind]:
            means.append(None)
            continue
        fitted, own = _target_means(codes, target, classes, len(rows.texts[place]), seed)
        means.append(fitted)
        learned.append(own)
    featurizer = Featurizer(kind, median, center, scale, told, tuple(hot), tuple(means))
    matrix = featurizer.transform(rows)
    if learned:
        width = sum(own.shape[1] for own in learned)
        matrix[:, -width:] = np.concatenate(learned, axis=1)
    return featurizer, matrix


def _scales(kind: MatrixKind, numbers: Array) -> tuple[Array, Array, Array]:
    """Median, center and scale of each number column; 0, 0 and 1 of one without a value."""
    columns = numbers.shape[1]
    median, center = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    scale = np.ones(columns, np.float32)
    for index in range(columns):
        present = numbers[:, index][~np.isnan(numbers[:, index])].astype(np.float64)
        if not len(present):
            continue
        low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
        deviation = present.std()
        spread = (high - low) / 1.349 if kind == "smooth" and high > low else deviation
        median[index] = middle
        center[index] = middle if kind == "smooth" else present.mean()
        scale[index] = spread if np.isfinite(spread) and spread > 1e-30 else 1.0
    return median, center, scale


def _target_means(codes: Array, target: Array, classes: int, known: int, seed: int) -> tuple[Array, Array]:
    """Smoothed target means by code, with that of unknown texts last, and for each row those that other rows gave."""
    every = np.append(np.arange(known), known)[:, None]  # the last is a code that no row has
    means = _encoder(classes).fit(codes[:, None], target).transform(every)
    parts = np.random.default_rng(seed).permutation(len(codes)) % MEANS_PARTS
    own = np.empty((len(codes), means.shape[1]), dtype=np.float32)
    for part in range(MEANS_PARTS):
        mine = parts == part
        whole = not classes or len(np.unique(target[~mine])) == classes
        others = ~mine if whole else np.ones(len(codes), dtype=bool)
        own[mine] = _encoder(classes).fit(codes[others, None], target[others]).transform(codes[mine, None])
    return np.asarray(means, dtype=np.float32), own


def _encoder(classes: int) -> TargetEncoder:
    kind = "continuous" if classes == 0 else "binary" if classes == 2 else "multiclass"
    return TargetEncoder(target_type=kind)


def write_times(builder: GraphBuilder, names: Sequence[str], rows: Encoded) -> list[str]:
    """Add what makes numbers of the points in time, and return them."""
    return [write_cycles(builder, names[place], one) for place, one in zip(rows.timed, rows.cycles, strict=True)]


def _joined(builder: GraphBuilder, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else builder.add("Concat", *parts, axis=1)


def _write_hot(builder: GraphBuilder, name: str, texts: Sequence[str]) -> str:
    encoded = builder.add("OneHotEncoder", name, domain="ai.onnx.ml", cats_strings=list(texts), zeros=1)
    return builder.add("Reshape", encoded, builder.constant([-1, len(texts)], np.int64))


def _write_means(builder: GraphBuilder, name: str, texts: Sequence[str], means: Array) -> str:
    place = builder.add(
        "LabelEncoder",
        name,
        domain="ai.onnx.ml",
        keys_strings=list(texts),
        values_int64s=list(range(len(texts))),
        default_int64=len(texts),
    )
    gathered = builder.add("Gather", builder.constant(means), place, axis=0)  # (rows, 1, outputs)
    return builder.add("Reshape", gathered, builder.constant([-1, means.shape[1]], np.int64))


def feature_names(features: Sequence[Column]) -> list[str]:
    return [column.name for column in features]
