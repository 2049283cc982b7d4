"""A table as the workers of a search get it, and a bench of theirs that takes too much memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainer.cases import make_cases
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.guardrails.check import Wishes, check_table
from trainer.search.division import divide_rows, make_material
from trainer.search.material import Material, Matrices, load_material
from trainer.search.trial import Bench


def material_of(table: pd.DataFrame, target: str, wishes: Wishes | None = None, *, seed: int = 0) -> Material:
    """Check and divide a table as a run with a minute does."""
    checked = check_table(table, target, None, wishes or Wishes())
    division, _ = divide_rows(checked, 60.0, seed)
    return make_material(checked, division, make_cases(checked.features, division.held_out), seed)


def truth_of(material: Material) -> Array:
    """Of the rows to validate on, fold after fold."""
    return np.concatenate([np.asarray(material.target[validate]) for _, validate in material.folds])


class _GreedyMatrices(Matrices):
    def fold(self, index: int, kind: MatrixKind) -> Any:
        if kind == "raw":
            np.ones(2**27)
        return super().fold(index, kind)


def open_greedy_bench(folder: Path) -> Bench:
    """Return a bench whose raw matrices take a gigabyte."""
    material = load_material(folder)
    bench = Bench(material)
    bench.matrices = _GreedyMatrices(material)
    return bench
