"""A featurizer of scikit-learn and its columns, as another maker would put them before a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trainer.columns import Column, internal_name
from trainer.fitting import round_thresholds
from trainer.guardrails.values import MAX_CATEGORIES


def to_frame(features: Sequence[Column], rows: np.ndarray[Any, Any] | None = None) -> pd.DataFrame:
    """Return the columns as a table: float32 or str objects, named c0, c1, ...; `rows` picks rows by position."""
    chosen = slice(None) if rows is None else rows
    return pd.DataFrame(
        {
            internal_name(index): pd.Series(column.values[chosen], dtype=column.values.dtype)
            for index, column in enumerate(features)
        }
    )


def build_featurizer(frame: pd.DataFrame, *, scaled: bool) -> ColumnTransformer:
    """Return an unfitted featurizer for such a table.

    Numbers: missing to the median, then zero mean and unit deviation if `scaled`. Text: one column for each of the
    64 most frequent values ("" is one of them where it occurs); any other value gives zeros in all of them.

    Args:
        frame: training rows as `to_frame` makes them; read for the categories only.
        scaled: what linear models need and trees do not.
    """
    numbers = [name for name in frame if frame[name].dtype == np.float32]
    texts = [name for name in frame if name not in numbers]
    steps: list[tuple[str, Any, list[str]]] = []
    if numbers:
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        number_step = Pipeline([("impute", imputer), ("scale", StandardScaler())]) if scaled else imputer
        steps.append(("numbers", number_step, numbers))
    if texts:
        encoder = OneHotEncoder(
            categories=[_categories(frame[name]) for name in texts],
            handle_unknown="ignore",
            sparse_output=False,
            dtype=np.float32,
        )
        steps.append(("texts", encoder, texts))
    return ColumnTransformer(steps)


def matrix_columns(featurizer: ColumnTransformer) -> list[int]:
    """Return, for each column of the fitted featurizer's matrix, the index of the raw column it comes from."""
    origins: list[int] = []
    for step, transformer, names in featurizer.transformers_:
        for position, name in enumerate(names):
            width = len(transformer.categories_[position]) if step == "texts" else 1
            origins += [int(name[1:])] * width
    return origins


def _categories(values: pd.Series) -> np.ndarray[Any, Any]:
    """The most frequent values, sorted; ties go to the lesser text, so that equal data give equal models."""
    unique, counts = np.unique(values.to_numpy(dtype=object), return_counts=True)
    order = np.lexsort((unique, -counts))[:MAX_CATEGORIES]
    return np.sort(unique[order])


def fit_quietly(model: Any, inputs: Any, target: np.ndarray[Any, Any]) -> Any:
    """Fit and return the model, its thresholds rounded as the graph has them."""
    model.fit(inputs, target)
    round_thresholds(model[-1] if isinstance(model, Pipeline) else model)
    return model
