"""One model of each family that the trainer searches, fitted and exported by the trainer's own parts."""

from typing import Any

import numpy as np
import onnx
import pandas as pd
from simulators.first_settings import first_settings
from simulators.inline_workers import InlineWorkers

from protocols.manifest import Task
from protocols.recipe import Member, Recipe
from trainer.cases import make_cases
from trainer.fitting import one_thread
from trainer.guardrails.check import Wishes, check_table
from trainer.search.division import divide_rows, make_material
from trainer.search.proving import fit_and_prove
from trainer.search.trial import Bench

#: As scikit-learn sorts them.
CLASSES = ("high", "low", "mid")


def trained(family: str, task: Task = "regression", seed: int = 3) -> onnx.ModelProto:
    """Return a graph with the inputs of `small_models`: AT and V, or for a classification AT and the text `kind`."""
    random = np.random.default_rng(seed)
    heat = random.uniform(0, 40, 600).astype(np.float32)
    other: Any = random.uniform(20, 90, 600).astype(np.float32)
    target: Any = (480 - 2 * heat + 0.3 * other * np.sin(heat)).astype(np.float32)
    names = ("AT", "V")
    if task == "classification":
        other = random.choice(np.array(["a", "b", ""], dtype=object), 600)
        heat = (heat / 4 - 5).astype(np.float32)
        names = ("AT", "kind")
        target = np.array([CLASSES[int(place)] for place in np.digitize(heat + 2 * (other == "a"), [-2, 2])])
    table = pd.DataFrame({names[0]: heat, names[1]: other, "y": target})
    checked = check_table(table, "y", task, Wishes(keep=names))
    division, _ = divide_rows(checked, 60.0, seed)
    cases = make_cases(checked.features, division.held_out)
    material = make_material(checked, division, cases, seed)
    parameters = dict(first_settings(family, material.shape)[0])
    settled = {"rounds": 100} if family == "boosted" else {}
    recipe = Recipe((Member(family, parameters, settled, 1.0, (0,)),))
    with one_thread():
        proven = fit_and_prove(
            checked, material, cases, recipe, InlineWorkers(Bench(material)), None, lambda done, of: None
        )
    return onnx.load_from_string(proven.graph)
