"""One model of each family that the trainer searches, fitted and exported by the trainer's own parts."""

from typing import Any

import numpy as np
import onnx
import pandas as pd

from protocols.manifest import Task
from trainer.export import export_pipeline
from trainer.families import DEFAULTS, Family
from trainer.fitting import fit_pipeline, one_thread

#: As scikit-learn sorts them.
CLASSES = ("high", "low", "mid")


def trained(family: Family, task: Task = "regression", seed: int = 3) -> onnx.ModelProto:
    """Return a graph with the inputs of `small_models`: AT and V, or for a classification AT and the text `kind`."""
    random = np.random.default_rng(seed)
    heat = random.uniform(0, 40, 600).astype(np.float32)
    other: Any = random.uniform(20, 90, 600).astype(np.float32)
    target: Any = (480 - 2 * heat + 0.3 * other * np.sin(heat)).astype(np.float32)
    names, kinds = ("AT", "V"), ("number", "number")
    if task == "classification":
        other = random.choice(np.array(["a", "b", ""], dtype=object), 600)
        heat = (heat / 4 - 5).astype(np.float32)
        names, kinds = ("AT", "kind"), ("number", "category")
        target = np.array([CLASSES[int(place)] for place in np.digitize(heat + 2 * (other == "a"), [-2, 2])])
    frame = pd.DataFrame({"c0": heat, "c1": other})
    with one_thread():
        pipeline = fit_pipeline(frame, target, task, DEFAULTS[family], seed)
    return onnx.load_from_string(export_pipeline(pipeline, names, kinds))
