"""Models of LightGBM and XGBoost put into forms that their ONNX converters carry over exactly.

What is changed changes no prediction on float32 values:

- LightGBM compares with float64 thresholds and the converter rounds them to the nearest float32, so that a value
  between the two goes the other way; they are rounded down here.
- LightGBM trees that met no missing value in training take NaN for 0, where the converter takes the default branch;
  the branch of 0 is made the default.
- LightGBM random forests give the mean of their trees, where the converter gives the sum; the leaves are divided.
- XGBoost's dart boosters weigh their trees, which the converter does not know; the leaves are multiplied.

Source: LightGBM's `Tree::NumericalDecision` and text format v4; XGBoost's model schema (doc/model.schema).
"""

import json
import math
import re
from typing import Any

import numpy as np

from trainer.errors import ExportError

#: Bits of a LightGBM node's decision_type.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2
_ZERO, _NAN = 1, 2
#: Numbers this near to 0 are 0 to LightGBM (kZeroThreshold).
_ZERO_WIDTH = float(np.float32(1e-35))
#: Objectives whose answer is the plain sum of the leaves, but whose names the converter does not know.
_PLAIN = ("mape", "fair", "regression_l1", "regression_l2", "huber", "quantile")
_LIGHTGBM_OBJECTIVES = ("binary", "multiclass", "regression", "poisson", "gamma", "tweedie", *_PLAIN)
_XGBOOST_OBJECTIVES = (
    "binary:logistic", "multi:softprob", "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror",
    "reg:quantileerror", "count:poisson", "reg:gamma", "reg:tweedie",
)  # fmt: skip


def exact_lightgbm(text: str) -> str:
    """Rewrite a LightGBM model in its text format.

    Raises:
        ExportError: it has what no graph computes: zero as missing, linear leaves, an objective that is not known.
    """
    head, *trees = re.split(r"(?m)^(?=Tree=\d+$|end of trees$)", text)
    if not trees or not trees[-1].startswith("end of trees"):
        raise ExportError("it is no complete LightGBM model: the line 'end of trees' is missing")
    *trees, tail = trees
    fields = dict(line.partition("=")[::2] for line in head.splitlines())
    head = re.sub(r"(?m)^tree_sizes=.*\n", "", head)  # of the trees as they were; without it they are read in turn
    head = head.replace(_line("objective", fields), f"objective={_objective(fields.get('objective', ''))}")
    share = 1.0
    if re.search(r"(?m)^average_output$", head):
        head = re.sub(r"(?m)^average_output\n", "", head)
        share = int(fields.get("num_tree_per_iteration", 1)) / max(len(trees), 1)
    return head + "".join(_exact_tree(tree, share) for tree in trees) + tail


def exact_xgboost(document: bytes) -> bytes:
    """Rewrite an XGBoost model in its JSON format.

    Raises:
        ExportError: it has what no graph computes: categories, linear boosters, several targets, an objective that
            is not known.
    """
    model = json.loads(document)
    learner = model["learner"]
    booster = learner["gradient_booster"]
    objective = learner["objective"]["name"]
    if booster["name"] == "dart":
        booster = learner["gradient_booster"] = _without_weights(booster)
    if booster["name"] != "gbtree":
        raise ExportError(f"XGBoost's booster {booster['name']!r} has no ONNX form: fit one with booster='gbtree'")
    if objective == "multi:softmax":
        objective = learner["objective"]["name"] = "multi:softprob"
    if objective not in _XGBOOST_OBJECTIVES:
        raise ExportError(f"XGBoost's objective {objective!r} has no proven ONNX form: {_known(_XGBOOST_OBJECTIVES)}")
    if int(learner["learner_model_param"].get("num_target", 1)) > 1:
        raise ExportError("the XGBoost model predicts several targets: fit one model for each")
    if "c" in learner.get("feature_types", ()):
        names = learner.get("feature_names") or []
        place = learner["feature_types"].index("c")
        column = names[place] if place < len(names) else f"number {place + 1}"
        raise ExportError(
            f"XGBoost took the column {column!r} for categories (enable_categorical), which has no ONNX form: "
            "encode it in a scikit-learn pipeline before the model"
        )
    learner["feature_names"], learner["feature_types"] = [], []  # the converter knows columns by place
    return json.dumps(model).encode()


def _line(name: str, fields: dict[str, str]) -> str:
    return f"{name}={fields.get(name, '')}"


def _objective(given: str) -> str:
    name, *options = given.split()[:1] + given.split()[1:] if given else [""]
    if "sqrt" in options:
        raise ExportError("LightGBM's option reg_sqrt has no ONNX form: fit the model on the square root instead")
    if name == "multiclassova" or name not in _LIGHTGBM_OBJECTIVES:
        raise ExportError(f"LightGBM's objective {name!r} has no ONNX form: {_known(_LIGHTGBM_OBJECTIVES)}")
    if name == "binary" and options and options[0] != "sigmoid:1":
        raise ExportError(f"LightGBM's option {options[0]!r} has no ONNX form: fit the model with sigmoid=1")
    return "regression" if name in _PLAIN else given


def _known(names: tuple[str, ...]) -> str:
    return f"fit one with {', '.join(names)}"


def _exact_tree(tree: str, share: float) -> str:
    fields = dict(line.partition("=")[::2] for line in tree.splitlines())
    if fields.get("is_linear", "0") != "0":
        raise ExportError("LightGBM's linear leaves (linear_tree) have no ONNX form: fit it with linear_tree=False")
    changed = {}
    if share != 1.0:
        changed["leaf_value"] = _spelt([float(word) * share for word in fields["leaf_value"].split()])
    if fields.get("threshold", "").strip():
        thresholds = [float(word) for word in fields["threshold"].split()]
        decisions = [int(word) for word in fields["decision_type"].split()]
        pairs = [_exact_node(*node) for node in zip(thresholds, decisions, strict=True)]
        changed["threshold"] = _spelt([threshold for threshold, _ in pairs])
        changed["decision_type"] = " ".join(str(decision) for _, decision in pairs)
    for name, value in changed.items():
        tree = re.sub(rf"(?m)^{name}=.*$", f"{name}={value}", tree)
    return tree


def _exact_node(threshold: float, decision: int) -> tuple[float, int]:
    """Return a node's threshold in float32, and its decision with NaN's way said."""
    if decision & _CATEGORICAL:
        return threshold, decision
    rounded = _beside_zero(float(round_down(np.array([threshold]))[0]))
    missing = decision >> _MISSING_SHIFT & 3
    left = bool(decision & _DEFAULT_LEFT)
    if missing != _NAN:
        zero_left = threshold >= 0
        if missing == _ZERO and left != zero_left:
            raise ExportError("LightGBM takes zeros for missing (zero_as_missing), which has no ONNX form")
        left = zero_left
    return rounded, (_NAN << _MISSING_SHIFT) | (_DEFAULT_LEFT if left else 0)


def _beside_zero(threshold: float) -> float:
    """Move a threshold out of the numbers that LightGBM takes for 0 when it reads a row."""
    if -_ZERO_WIDTH <= threshold < 0:
        return float(np.nextafter(np.float32(-_ZERO_WIDTH), np.float32(-math.inf)))
    return max(threshold, _ZERO_WIDTH) if threshold >= 0 else threshold


def round_down(exact: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the greatest float32 numbers that are not above these float64 ones; any shape."""
    with np.errstate(over="ignore"):
        rounded: np.ndarray[Any, Any] = exact.astype(np.float32)
    above = rounded > exact
    rounded[above] = np.nextafter(rounded[above], np.float32(-math.inf))
    return rounded


def _spelt(numbers: list[float]) -> str:
    return " ".join(repr(number) for number in numbers)


def _without_weights(dart: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = dart["gbtree"]
    for tree, weight in zip(inner["model"]["trees"], dart["weight_drop"], strict=True):
        leaves = [index for index, child in enumerate(tree["left_children"]) if child == -1]
        for index in leaves:  # a leaf's value stands where a node's threshold would
            tree["split_conditions"][index] *= weight
            tree["base_weights"][index] *= weight
    return {**inner, "name": "gbtree"}
