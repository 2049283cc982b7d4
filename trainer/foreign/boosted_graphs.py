"""Graphs of LightGBM's, XGBoost's and CatBoost's models: one float32 matrix in, exact within float32.

LightGBM and XGBoost go through onnxmltools, in the forms that `trainer.foreign.boosted_rewrites` gives them; CatBoost
writes its own graph. None of the three is imported here before a model of it is given.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from trainer.errors import ExportError, ImportRefusedError
from trainer.foreign.boosted_rewrites import exact_lightgbm, exact_xgboost
from trainer.foreign.graphs import settle_outputs
from trainer.graph.form import TARGET_OPSET

#: Name of the graph's one input.
MATRIX = "X"
#: The newest that onnxmltools knows; its operators are the same in TARGET_OPSET.
_CONVERTER_OPSET = 15
#: First part of the module of the model's class -> its library.
_LIBRARIES = {"lightgbm": "LightGBM", "xgboost": "XGBoost", "catboost": "CatBoost"}


def is_boosted(model: Any) -> bool:
    """Whether `convert_boosted` is for this model: of one of the three libraries, or of a class made from one's."""
    return _library(model) is not None


def convert_boosted(model: Any, columns: int) -> onnx.ModelProto:
    """Convert a fitted classifier or regression of LightGBM, XGBoost or CatBoost.

    Args:
        model: an LGBM*, XGB* or CatBoost* scikit-learn estimator, or a lightgbm.Booster; it is not changed.
        columns: that it was fitted on.

    Returns:
        A graph with the input `X`, float32, (rows, columns), NaN where a value is missing. A regression gives
        float32 (rows, 1); a classifier its label, int64 or string, (rows,), and float32 probabilities
        (rows, classes) in the order of `classes_`.

    Raises:
        ExportError: it has something that has no faithful ONNX form; the text says what, and what to do.
    """
    library = _library(model)
    if library is None:
        raise ExportError(f"{type(model).__name__} is no model of LightGBM, XGBoost or CatBoost")
    converters: dict[str, Callable[[Any, int], onnx.ModelProto]] = {
        "LightGBM": _from_lightgbm,
        "XGBoost": _from_xgboost,
        "CatBoost": _from_catboost,
    }
    with warnings.catch_warnings():
        # The converters give protobuf booleans for integers, as skl2onnx does.
        warnings.filterwarnings("ignore", "Field onnx", DeprecationWarning)
        try:
            graph = converters[library](model, columns)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            raise ExportError(f"{library}'s {type(model).__name__} has no ONNX form: {_first_line(error)}") from error
    return _settled(graph, columns)


def _library(model: Any) -> str | None:
    for kind in type(model).__mro__:
        found = _LIBRARIES.get(kind.__module__.partition(".")[0])
        if found:
            return found
    return None


def _from_lightgbm(model: Any, columns: int) -> onnx.ModelProto:
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    if callable(getattr(model, "objective", None)):
        raise ExportError("LightGBM gives raw scores for an objective of its user's own, and no graph for it")
    given = model if isinstance(model, lightgbm.Booster) else model.booster_
    text = given.model_to_string(num_iteration=given.best_iteration)
    exact: Any = lightgbm.Booster(model_str=exact_lightgbm(text))
    if given is not model:
        booster, exact = exact, copy.copy(model)
        exact._Booster = booster
        exact.boosting_type = "gbdt"  # the rewritten leaves have the mean of a forest in them
    return convert_lightgbm(
        exact, initial_types=[(MATRIX, FloatTensorType([None, columns]))], target_opset=_CONVERTER_OPSET, zipmap=False
    )


def _from_xgboost(model: Any, columns: int) -> onnx.ModelProto:
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    if model.missing is not None and not np.isnan(model.missing):
        raise ExportError(
            f"the XGBoost model takes {model.missing!r} for a missing value (missing=), and a graph NaN alone: put NaN "
            "into the data and fit it again"
        )
    booster = model.get_booster()
    if (best := booster.attributes().get("best_iteration")) is not None:
        booster = booster[: int(best) + 1]
    exact = copy.copy(model)
    exact._Booster = xgboost.Booster(model_file=bytearray(exact_xgboost(bytes(booster.save_raw("json")))))
    # Read by the converter in place of the booster's own count.
    exact.n_estimators = exact._Booster.num_boosted_rounds()
    return convert_xgboost(
        exact, initial_types=[(MATRIX, FloatTensorType([None, columns]))], target_opset=_CONVERTER_OPSET
    )


def _from_catboost(model: Any, columns: int) -> onnx.ModelProto:
    from catboost import CatBoostError

    for kind, found in (("categories", model.get_cat_feature_indices()), ("text", model.get_text_feature_indices())):
        if found:
            raise ExportError(
                f"CatBoost took the column {model.feature_names_[found[0]]!r} for {kind}, which its ONNX export cannot "
                "carry: encode it in a scikit-learn pipeline before the model"
            )
    with tempfile.TemporaryDirectory(prefix="genba-") as folder:
        file = Path(folder, "model.onnx")
        try:
            model.save_model(str(file), format="onnx")
        except CatBoostError as error:
            raise ExportError(f"CatBoost does not export the model to ONNX: {_first_line(error)}") from error
        return onnx.load(file)


def _settled(model: onnx.ModelProto, columns: int) -> onnx.ModelProto:
    """Give inputs and outputs their one form, whatever converter made them."""
    graph = model.graph
    given = graph.input[0].name
    for node in graph.node:
        node.input[:] = [MATRIX if name == given else name for name in node.input]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, ["rows", columns]))
    try:
        settle_outputs(graph)
    except ImportRefusedError as error:
        raise ExportError(str(error)) from error
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in TARGET_OPSET.items())
    model.ir_version = 8
    graph.name = "boosted"  # the converters draw one at random
    for index, node in enumerate(graph.node):
        node.name = f"boosted_{index}"
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
