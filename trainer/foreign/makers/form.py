"""What every framework's module does: load a model, say what it knows of itself, convert it, run it."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnx

Array = np.ndarray[Any, Any]
#: `matrix`: one float (rows, columns); `columns`: one float (rows, 1) each; `tensor`: another shape, of a network.
Takes = Literal["matrix", "columns", "tensor"]


@dataclass(frozen=True, slots=True)
class Known:
    """What a model says of itself.

    Attributes:
        columns: their names in its order, where it has them.
        classes: of a classifier, as text in the order of its probabilities.
        notes: what a person should know, one line each.
        width: how many columns it takes, where it says so.
    """

    takes: Takes
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    width: int | None = None


class Maker(Protocol):
    """A loaded model."""

    known: Known

    def convert(self, example: Sequence[Array]) -> onnx.ModelProto:
        """Return its graph."""

    def answer(self, arrays: Sequence[Array]) -> Array:
        """Return its output for rows: probabilities of a classifier that knows itself as one."""


_MODULES = {
    "lightgbm": "boosted", "xgboost": "boosted", "catboost": "boosted", "keras": "tensorflow_models",
    "saved-model": "tensorflow_models", "torch-program": "torch_models", "torchscript": "torch_models",
    "torch-module": "torch_models",
}  # fmt: skip


def maker_of(kind: str, path: Path, options: Mapping[str, Any]) -> Maker:
    """Load a model.

    Raises:
        ModuleNotFoundError: its framework is not installed.
        Exception: whatever the framework raises for a file that it does not take.
    """
    module = importlib.import_module(f"trainer.foreign.makers.{_MODULES[kind]}")
    made: Maker = module.load(kind, path, options)
    return made
