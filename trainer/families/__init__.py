"""The model families that are searched, in the order in which they are tried.

Each says what is tried of it first, fits, and takes a fitted model apart into pieces of a graph. Left out because
their export is not faithful, or because they are better done otherwise: native categories of histogram boosting
(target means instead), isotonic calibration (a temperature instead), libsvm's probabilities (`kernel` instead).
"""

from trainer.families.boosted import Additive, Boosted
from trainer.families.catboost import Cat
from trainer.families.family import Family, Model, Parameters, Rows, Settled, Shape
from trainer.families.forest import Forest
from trainer.families.kernel import Kernel
from trainer.families.lightgbm import Light
from trainer.families.linear import Linear
from trainer.families.neighbours import Neighbours
from trainer.families.network import Network
from trainer.families.process import Process
from trainer.families.xgboost import Extreme

__all__ = ["FAMILIES", "Family", "Model", "Parameters", "Rows", "Settled", "Shape"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Linear(),
        Light(),
        Process(),
        Kernel(),
        Network(),
        Cat(),
        Additive(),
        Forest(),
        Extreme(),
        Boosted(),
        Neighbours(),
    )
}
