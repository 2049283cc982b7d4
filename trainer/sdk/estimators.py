"""`Classifier` and `Regressor`: Genba's search as scikit-learn estimators, so that its tools work on them."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from protocols.errors import GenbaError
from protocols.manifest import Task
from trainer.class_texts import ClassTexts
from trainer.columns import type_column
from trainer.sdk.given import names_of
from trainer.sdk.trained import TrainedModel
from trainer.sdk.verbs import train
from trainer.targets import MIN_ROWS

Array = np.ndarray[Any, Any]
Validate = Literal["newest", "random"]


class FitRefusedError(GenbaError, ValueError):
    """The data, or a parameter, cannot be used; scikit-learn's tools expect a ValueError."""


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both have in common: see `trainer.sdk.verbs.train` for the parameters, which are its keywords.

    As scikit-learn's, they learn from every column that they are given, but for constants; what the checks of
    the data would have dropped is an alert in `model_.guardrails`. With `keep=()` they do drop it.

    Attributes:
        model_: the `TrainedModel`, with its card, checks and proof.
        n_features_in_, feature_names_in_: of the table that it was fitted on.
    """

    _task: Task

    def __init__(
        self,
        *,
        model: str = "model",
        budget: float | str = "60s",
        trials: int | None = None,
        metric: str | None = None,
        random_state: int | None = 0,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        group: str | None = None,
        validate: Validate | None = None,
        fairness: Sequence[str] = (),
        max_latency: float | str | None = None,
        max_size: float | str | None = None,
        max_memory: float | str | None = None,
        jobs: int | None = None,
        memory: float | str | None = None,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.budget = budget
        self.trials = trials
        self.metric = metric
        self.random_state = random_state
        self.keep = keep
        self.drop = drop
        self.group = group
        self.validate = validate
        self.fairness = fairness
        self.max_latency = max_latency
        self.max_size = max_size
        self.max_memory = max_memory
        self.jobs = jobs
        self.memory = memory
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def predict(self, X: Any) -> Array:  # noqa: N803  # scikit-learn's name
        """Return the prediction for each row, shape (rows,)."""
        check_is_fitted(self, "model_")
        return self._answers(self.model_.predict(self._frame(X, reset=False)))

    def _answers(self, given: Array) -> Array:
        return given

    def _fit(self, X: Any, target: Array, name: Any) -> None:  # noqa: N803
        """Train on a table and a target of as many rows."""
        table = self._frame(X, reset=True)
        check_consistent_length(table, target)
        if len(table) < MIN_ROWS:
            raise FitRefusedError(
                f"X has n_samples={len(table)} and n_features={len(table.columns)}, and a model is proven on rows that "
                f"were held out: give at least {MIN_ROWS} rows"
            )
        name = "target" if name is None else str(name)
        while name in table.columns:
            name += "_"
        table[name] = target
        state = self.random_state
        seed = state if isinstance(state, int) else int(check_random_state(state).randint(2**31))
        chosen = self.get_params(deep=False) | {"seed": seed}
        del chosen["random_state"]
        if self.keep is None:
            away = {name, self.group, *names_of(self.drop)}
            chosen["keep"] = [each for each in table.columns if each not in away and _learnable(table[each])]
        try:
            self.model_: TrainedModel = train(table, name, task=self._task, **chosen)
        except GenbaError as error:
            raise FitRefusedError(str(error)) from error

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:  # noqa: N803
        """Return the rows as a data frame of the caller's names, or of x0, x1 and so on."""
        if hasattr(X, "columns") or hasattr(X, "to_pandas"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            frame = X.to_pandas() if hasattr(X, "to_pandas") else X
            return frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
        array = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
        frame = pd.DataFrame(array, columns=[f"x{place}" for place in range(array.shape[1])])
        return frame.infer_objects()


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Genba's search as a scikit-learn classifier; parameters are the keywords of `genba.train`.

    It learns from every column that it is given, but for constants; what the checks of the data would
    have dropped is an alert in `model_.guardrails`. With `keep=()` they do drop it.

    Attributes:
        classes_: the classes of `y`, sorted; one with under 5 rows is not learned, and has no probability.
        model_: the `TrainedModel`, with its card, checks and proof.
        n_features_in_, feature_names_in_: of the table that it was fitted on.
    """

    _task = "classification"

    def __init__(
        self,
        *,
        model: str = "model",
        budget: float | str = "60s",
        trials: int | None = None,
        metric: str | None = None,
        random_state: int | None = 0,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        group: str | None = None,
        validate: Validate | None = None,
        fairness: Sequence[str] = (),
        false_alarm_cost: float | None = None,
        miss_cost: float | None = None,
        positive: str | None = None,
        max_latency: float | str | None = None,
        max_size: float | str | None = None,
        max_memory: float | str | None = None,
        jobs: int | None = None,
        memory: float | str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(
            model=model,
            budget=budget,
            trials=trials,
            metric=metric,
            random_state=random_state,
            keep=keep,
            drop=drop,
            group=group,
            validate=validate,
            fairness=fairness,
            max_latency=max_latency,
            max_size=max_size,
            max_memory=max_memory,
            jobs=jobs,
            memory=memory,
            progress=progress,
        )
        self.false_alarm_cost = false_alarm_cost
        self.miss_cost = miss_cost
        self.positive = positive

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train on rows and their classes.

        Args:
            X: a data frame, numbers and texts, values may be missing; or an array of shape (rows, columns).
            y: shape (rows,): whole numbers, texts or booleans.

        Raises:
            FitRefusedError: the data cannot be used; a ValueError whose text says why.
        """
        name = getattr(y, "name", None)
        labels = _labels(self, y)
        check_classification_targets(labels)
        self.classes_, places = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise FitRefusedError(f"y has one class, {self.classes_[0]!r}: give rows of two at least")
        self._texts = ClassTexts(self.classes_)
        self._fit(X, self._texts.of(places), name)
        return self

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Return the probability of each class, shape (rows, classes), in the order of `classes_`."""
        check_is_fitted(self, "model_")
        found = self.model_.predict_proba(self._frame(X, reset=False))
        wide = np.zeros((len(found), len(self.classes_)), dtype=found.dtype)
        wide[:, self._texts.places(self.model_.manifest.classes)] = found
        return wide

    def _answers(self, given: Array) -> Array:
        answers: Array = self.classes_[self._texts.places(given)]
        return answers


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """Genba's search as a scikit-learn regressor; parameters are the keywords of `genba.train`.

    It learns from every column that it is given, but for constants; what the checks of the data would
    have dropped is an alert in `model_.guardrails`. With `keep=()` they do drop it.

    Attributes:
        model_: the `TrainedModel`, with its card, checks and proof.
        n_features_in_, feature_names_in_: of the table that it was fitted on.
    """

    _task = "regression"

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train on rows and their values.

        Args:
            X: a data frame, numbers and texts, values may be missing; or an array of shape (rows, columns).
            y: numbers, shape (rows,).

        Raises:
            FitRefusedError: the data cannot be used; a ValueError whose text says why.
        """
        name = getattr(y, "name", None)
        values = _labels(self, y)
        self._fit(X, values if values.dtype.kind in "biuf" else values.astype(np.float64), name)
        return self


def _learnable(series: pd.Series) -> bool:
    """Whether a column holds different values; of points in time the checks know what to make."""
    return series.nunique() > 1 and type_column("", series).kind != "time"


def _labels(estimator: BaseEstimator, y: Any) -> Array:
    """Return a target of shape (rows,) without missing values. Raises ValueError."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    flat = column_or_1d(y, warn=True)
    labels: Array = check_array(flat, ensure_2d=False, dtype=None, input_name="y")
    return labels
