"""Global importance: how much each raw column moves the prediction, and which way, by SHAP.

Source: Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions"; Lundberg et al., "From local
explanations to global understanding with explainable AI for trees" (TreeSHAP).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from protocols.manifest import Importance
from trainer.featurizer import matrix_columns

#: Rows explained at most, and at a time: between two chunks the clock is looked at.
MAX_ROWS, CHUNK_ROWS = 400, 25
#: Rank correlation of value and contribution from which a direction is named.
CLEAR_DIRECTION = 0.4


def explain(
    pipeline: Any, frame: pd.DataFrame, names: Sequence[str], over: Callable[[], bool]
) -> tuple[Importance, ...]:
    """Return the mean absolute contribution of each raw column, largest first.

    Contributions are in the target's unit for a regression; for a classifier in log-odds (linear, boosted) or
    probability (forest) of the last class where there are two, and averaged over classes where there are more.

    Args:
        pipeline: fitted, as `fit_pipeline` makes it.
        frame: rows to explain, as `to_frame` makes them.
        over: asked after each chunk of rows: has the time run out?
    """
    featurizer, model = pipeline[0], pipeline[-1]
    matrix = np.asarray(featurizer.transform(frame.iloc[:MAX_ROWS]), dtype=np.float32)
    explained = _contributions(model, matrix, over)
    rows = len(explained)
    origins = np.array(matrix_columns(featurizer))
    found = []
    for index, name in enumerate(names):
        of_column = origins == index
        contribution = explained[:, of_column, :].sum(axis=1)
        value = float(np.abs(contribution).mean())
        direction = _direction(matrix[:rows, of_column], contribution)
        found.append(Importance(name, value, direction))
    return tuple(sorted(found, key=lambda one: (-one.value, one.feature)))


def _contributions(model: Any, matrix: np.ndarray[Any, Any], over: Callable[[], bool]) -> np.ndarray[Any, Any]:
    """Contributions of the first rows, as many as the time allows; shape (rows, matrix columns, outputs)."""
    from shap import LinearExplainer, TreeExplainer  # slow to import: only where it is used

    linear = hasattr(model, "coef_")
    explainer = LinearExplainer(model, matrix) if linear else TreeExplainer(model)
    chunks: list[np.ndarray[Any, Any]] = []
    for start in range(0, len(matrix), CHUNK_ROWS):
        rows = matrix[start : start + CHUNK_ROWS]
        values = np.asarray(
            explainer.shap_values(rows) if linear else explainer.shap_values(rows, check_additivity=False)
        )
        chunks.append(values[:, :, None] if values.ndim == 2 else values)
        if over():
            break
    explained = np.concatenate(chunks)
    return explained[:, :, 1:] if explained.shape[2] == 2 else explained


def _direction(values: np.ndarray[Any, Any], contribution: np.ndarray[Any, Any]) -> Literal["rises", "falls", "mixed"]:
    """Whether the output rises or falls with a number; categories and several outputs have no one direction."""
    if values.shape[1] != 1 or contribution.shape[1] != 1:
        return "mixed"
    x, y = _ranks(values[:, 0]), _ranks(contribution[:, 0])
    if len(x) < 3 or not x.std() or not y.std():
        return "mixed"
    correlation = float(np.corrcoef(x, y)[0, 1])
    if abs(correlation) < CLEAR_DIRECTION:
        return "mixed"
    return "rises" if correlation > 0 else "falls"


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.unique(values, return_inverse=True)[1].astype(np.float64)
