"""Models of LightGBM, XGBoost and CatBoost from the files that the libraries write themselves."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trainer.errors import ExportError
from trainer.foreign.boosted_graphs import convert_boosted
from trainer.foreign.makers.form import Array, Known


class BoostedModel:
    """A loaded model; `convert_boosted` takes it as it is."""

    def __init__(self, model: Any, known: Known, asked: Callable[[Array], Array]) -> None:
        self._model, self.known, self._asked = model, known, asked

    def convert(self, example: Sequence[Array]) -> onnx.ModelProto:
        return convert_boosted(self._model, example[0].shape[1])

    def answer(self, arrays: Sequence[Array]) -> Array:
        return self._asked(arrays[0])


def load(kind: str, path: Path, options: Mapping[str, Any]) -> BoostedModel:
    """Load a model file of the kind `lightgbm`, `xgboost` or `catboost`."""
    return {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}[kind](path)


def _lightgbm(path: Path) -> BoostedModel:
    import lightgbm

    text = path.read_text("utf-8")
    if "\nend of trees" not in text:
        raise ExportError("it is no whole LightGBM model: the line 'end of trees' is missing; save it again")
    booster = lightgbm.Booster(model_str=text)
    for categories in booster.pandas_categorical or ():
        raise ExportError(
            f"LightGBM made numbers of a pandas category with the values {', '.join(map(str, categories[:4]))} itself, "
            "which has no ONNX form: encode it in a scikit-learn pipeline before the model"
        )
    objective = str(booster.dump_model(num_iteration=1).get("objective", ""))
    names = booster.feature_name()
    columns = () if names == [f"Column_{place}" for place in range(len(names))] else tuple(names)
    if not objective.startswith(("binary", "multiclass")):
        return BoostedModel(booster, Known("matrix", columns, width=len(names)), lambda rows: booster.predict(rows))
    classes = tuple(str(place) for place in range(max(2, booster.num_model_per_iteration())))

    def shares(rows: Array) -> Array:
        found: Array = np.asarray(booster.predict(rows))
        return np.column_stack([1 - found, found]) if found.ndim == 1 else found

    return BoostedModel(booster, Known("matrix", columns, classes, width=len(names)), shares)


def _xgboost(path: Path) -> BoostedModel:
    import xgboost

    # As bytes, XGBoost sees for itself whether they are JSON or UBJSON, whatever the file is called.
    data = bytearray(path.read_bytes())
    booster = xgboost.Booster(model_file=data)
    learner = json.loads(booster.save_config())["learner"]
    named = learner["objective"]["name"].startswith(("binary:", "multi:"))
    model: Any = (xgboost.XGBClassifier if named else xgboost.XGBRegressor)()
    model.load_model(data)
    columns = tuple(booster.feature_names or ())
    width = booster.num_features()
    if not named:
        return BoostedModel(model, Known("matrix", columns, width=width), model.predict)
    classes = tuple(str(place) for place in range(max(2, int(learner["learner_model_param"]["num_class"]))))
    return BoostedModel(model, Known("matrix", columns, classes, width=width), model.predict_proba)


def _catboost(path: Path) -> BoostedModel:
    import catboost

    model: Any = catboost.CatBoost().load_model(str(path))
    named = len(np.ravel(model.classes_)) > 0
    model = (catboost.CatBoostClassifier if named else catboost.CatBoostRegressor)().load_model(str(path))
    names = [str(name) for name in model.feature_names_]
    columns = () if names == [str(place) for place in range(len(names))] else tuple(names)
    width = len(names) or None
    if not named:
        return BoostedModel(model, Known("matrix", columns, width=width), model.predict)
    classes = tuple(str(name) for name in np.ravel(model.classes_))
    return BoostedModel(model, Known("matrix", columns, classes, width=width), model.predict_proba)
