"""Fitted scikit-learn models that others saved with skops, joblib or pickle, and their way to a graph.

A pickle runs whatever code its maker put in, so it comes here only where somebody said that the file is trusted
(`trainer.foreign.code_inside`). A skops file names the types that it is made of, and skops knows which are harmless.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import skops.io
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

from trainer.cases import Case
from trainer.columns import Kind
from trainer.errors import ExportError, ImportRefusedError
from trainer.export import convert
from trainer.fitting import one_thread, predict, round_thresholds
from trainer.foreign.boosted_graphs import convert_boosted, is_boosted
from trainer.foreign.boosted_steps import register_boosted
from trainer.foreign.columns import choose
from trainer.foreign.graphs import ForeignGraph, adopt
from trainer.foreign.kinds import Found

#: Types that skops asks about and that only hold a model; MLflow trusts them as well.
_HARMLESS = (
    "collections.OrderedDict", "numpy.dtype", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor", "xgboost.core.Booster", "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)  # fmt: skip


def load_pipeline(found: Found, *, trusted: bool) -> Any:
    """Load a fitted classifier or regression from a skops file, or from a pickle that is trusted.

    Raises:
        ImportRefusedError: it cannot be loaded, is no fitted scikit-learn model, or is a skops file with types that
            skops does not trust; the text names them.
    """
    path = found.path
    try:
        with warnings.catch_warnings():
            # Parity compares the graph with the model as it was loaded here, whatever version saved it.
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            model = _load_skops(path, trusted=trusted) if found.kind == "skops" else joblib.load(path)
    except ImportRefusedError:
        raise
    except Exception as error:  # a pickle raises what its maker's code raises
        reason = " ".join(str(error).split())[:300]
        raise ImportRefusedError(f"{path.name} cannot be loaded: {type(error).__name__}: {reason}") from error
    if not hasattr(model, "predict") or not (is_classifier(model) or is_regressor(model)):
        raise ImportRefusedError(
            f"{path.name} holds a {type(model).__name__}: a fitted scikit-learn classifier or regression is needed"
        )
    if is_classifier(model) and not hasattr(model, "predict_proba"):
        raise ImportRefusedError(
            f"{path.name} holds a {type(model).__name__} without predict_proba: fit one that gives probabilities"
        )
    return model


def _load_skops(path: Path, *, trusted: bool) -> Any:
    unknown = [name for name in skops.io.get_untrusted_types(file=path) if name not in _HARMLESS]
    if unknown and not trusted:
        raise ImportRefusedError(
            f"{path.name} needs {', '.join(unknown[:5])}, which skops does not trust by itself: add --trust if "
            "you know who made it"
        )
    return skops.io.load(path, trusted=[*unknown, *_HARMLESS])


def model_columns(model: Any, columns: Sequence[str]) -> list[str]:
    """Return the columns that the model learned from, in its order; `columns` are the sample's without the target.

    Raises:
        ImportRefusedError: the sample does not have them.
    """
    named = [str(name) for name in getattr(model, "feature_names_in_", ())]
    if not named and hasattr(model, "feature_names_"):  # CatBoost's, which are numbers where it was given none
        named = [str(name) for name in model.feature_names_]
        named = [] if named == [str(place) for place in range(len(named))] else named
    return choose(named, getattr(model, "n_features_in_", None) or None, columns)


def export_foreign(model: Any, columns: Sequence[str], kinds: Sequence[Kind]) -> ForeignGraph:
    """Convert a model to a graph in the form of a release.

    Raises:
        ImportRefusedError: it cannot be converted.
    """
    round_thresholds(model[-1] if isinstance(model, Pipeline) else model)
    if _takes_columns(model):
        types: list[tuple[str, Any]] = [
            (name, (FloatTensorType if kind == "number" else StringTensorType)([None, 1]))
            for name, kind in zip(columns, kinds, strict=True)
        ]
    elif "category" in kinds:
        text = columns[list(kinds).index("category")]
        raise ImportRefusedError(f"column {text!r} of the sample is text, and the model takes numbers only")
    else:
        types = [("matrix", FloatTensorType([None, len(columns)]))]
    try:
        boosted = is_boosted(model)
        register_boosted()
        graph = convert_boosted(model, len(columns)) if boosted else convert(model, types, _options(model))
    except ExportError as error:
        raise ImportRefusedError(str(error)) from error
    return adopt(graph, columns, _given_names(graph, columns) if _takes_columns(model) else None)


def _options(model: Any) -> dict[Any, Any]:
    """Probabilities as a tensor, and scalers that divide as scikit-learn does.

    The converter's own scaler multiplies by the inverse, whose last bit sends rows down other branches of a tree.
    """
    options: dict[Any, Any] = {id(step): {"div": "div"} for step in _steps(model) if isinstance(step, StandardScaler)}
    if is_classifier(model):
        options[id(model)] = {"zipmap": False}
    return options


def _steps(model: Any) -> Iterator[Any]:
    """Every estimator inside a model, and the model."""
    yield model
    inner = []
    if isinstance(model, Pipeline):
        inner = [step for _, step in model.steps]
    elif isinstance(model, ColumnTransformer):
        inner = [step for _, step, _ in model.transformers_]
    elif isinstance(model, FeatureUnion):
        inner = [step for _, step in model.transformer_list]
    for step in inner:
        yield from _steps(step)


def _given_names(graph: onnx.ModelProto, columns: Sequence[str]) -> dict[str, str]:
    """Return each input's column: the converter changes names to letters and digits, and keeps their order."""
    inputs = [entry.name for entry in graph.graph.input]
    if len(inputs) != len(columns):
        raise ImportRefusedError(
            f"the model was fitted on {len(columns)} columns and uses {len(inputs)}: fit it on those that it uses"
        )
    return dict(zip(inputs, columns, strict=True))


def answer(model: Any, columns: Sequence[str], case: Case) -> np.ndarray[Any, Any]:
    """Return the model's own probabilities or predictions. A model that refuses such rows raises ValueError."""
    frame = case.frame().set_axis(list(columns), axis=1)
    inputs: Any = frame if hasattr(model, "feature_names_in_") or _takes_columns(model) else frame.to_numpy(np.float32)
    with one_thread():
        return predict(model, inputs)


def answer_exactly(model: Any, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """As `answer`, for a table with the model's columns whose numbers are float64."""
    named = hasattr(model, "feature_names_in_") or _takes_columns(model)
    with one_thread():
        return predict(model, frame if named else frame.to_numpy(np.float64))


def _takes_columns(model: Any) -> bool:
    """Whether the model's first step picks columns by name or place, rather than taking one matrix of numbers."""
    first = model[0] if isinstance(model, Pipeline) else model
    return isinstance(first, ColumnTransformer)
