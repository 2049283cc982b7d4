"""LightGBM's, XGBoost's and CatBoost's estimators as steps of a scikit-learn pipeline that skl2onnx converts."""

import sys
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.helpers import add_onnx_graph
from sklearn.base import is_classifier

from trainer.foreign.boosted_graphs import convert_boosted

#: Module -> its estimators that are converted.
_ESTIMATORS = {
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
    "xgboost": ("XGBClassifier", "XGBRegressor"),
    "catboost": ("CatBoostClassifier", "CatBoostRegressor"),
}
_registered: set[str] = set()


def register_boosted() -> None:
    """Let skl2onnx convert the estimators of those of the three libraries that are loaded; the others are not."""
    for module, names in _ESTIMATORS.items():
        if module not in sys.modules or module in _registered:
            continue
        for name in names:
            options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [True, False]}
            update_registered_converter(
                getattr(sys.modules[module], name), f"Genba{name}", _shapes, _convert,
                options=options if name.endswith("Classifier") else None,
                # CatBoost's is no subclass of scikit-learn's classifier, by which skl2onnx knows one.
                parser=_label_and_probabilities if name == "CatBoostClassifier" else None,
            )  # fmt: skip
        _registered.add(module)


def _label_and_probabilities(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    operator = scope.declare_local_operator(f"Genba{type(model).__name__}", model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("probabilities", FloatTensorType()))
    return operator.outputs


def _shapes(operator: Any) -> None:
    model = operator.raw_operator
    if not is_classifier(model):
        operator.outputs[0].type = FloatTensorType([None, 1])
        return
    classes = np.ravel(model.classes_)
    operator.outputs[0].type = (Int64TensorType if classes.dtype.kind in "biu" else StringTensorType)([None])
    operator.outputs[1].type = FloatTensorType([None, len(classes)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    width = operator.inputs[0].type.shape[1] or model.n_features_in_
    graph = convert_boosted(model, int(width))
    # The standard set's version is the pipeline's own.
    add_onnx_graph(scope, operator, container, graph)
