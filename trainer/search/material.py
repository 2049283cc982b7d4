"""What every process of a search needs of a table, in a folder that they all map into memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trainer.families import Rows, Shape
from trainer.graph.encoded import Array, Encoded, load_encoded, save_encoded
from trainer.graph.featurizer import Featurizer, MatrixKind, fit_featurizer

#: Matrices that a process keeps ready together, at most.
KEPT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Material:
    """A table, and how its rows are divided.

    Attributes:
        rows: every row that may be learned from, and those held out.
        target: float64, or places among the classes, shape (rows,).
        folds: positions to learn from and to validate on.
        held_out: positions that measure what the search chose.
        final: positions that a model learns from in the end.
        cases: rows of the proof.
        seed: of all models.
    """

    rows: Encoded
    target: Array
    shape: Shape
    folds: tuple[tuple[Array, Array], ...]
    held_out: Array
    final: Array
    cases: tuple[Encoded, ...]
    seed: int


def save_material(folder: Path, material: Material) -> None:
    """Write it for `load_material`."""
    for name, rows in [("rows", material.rows), *((f"case{i}", case) for i, case in enumerate(material.cases))]:
        (folder / name).mkdir(parents=True)
        save_encoded(folder / name, rows)
    np.save(folder / "target.npy", material.target)
    parts: dict[str, Any] = {"held_out": material.held_out, "final": material.final}
    for index, (learn, validate) in enumerate(material.folds):
        parts |= {f"learn{index}": learn, f"validate{index}": validate}
    np.savez(folder / "parts.npz", **parts)
    shape = msgspec.to_builtins(material.shape)
    about = {"shape": shape, "seed": material.seed, "folds": len(material.folds)}
    (folder / "about.json").write_text(json.dumps({**about, "cases": len(material.cases)}))


def load_material(folder: Path) -> Material:
    """Return what `save_material` wrote, the table mapped into memory."""
    about = json.loads((folder / "about.json").read_text())
    with np.load(folder / "parts.npz", allow_pickle=False) as parts:
        return Material(
            rows=load_encoded(folder / "rows"),
            target=np.load(folder / "target.npy", mmap_mode="r"),
            shape=msgspec.convert(about["shape"], Shape),
            folds=tuple((parts[f"learn{i}"], parts[f"validate{i}"]) for i in range(about["folds"])),
            held_out=parts["held_out"],
            final=parts["final"],
            cases=tuple(load_encoded(folder / f"case{i}") for i in range(about["cases"])),
            seed=about["seed"],
        )


class Matrices:
    """Featurized rows of one table, made once and kept while they are small."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._kept: dict[tuple[object, ...], Any] = {}
        self._bytes = 0

    def fold(self, index: int, kind: MatrixKind) -> tuple[Rows, Rows, Array]:
        """Return rows to learn from, rows to validate on, and the matrix of those held out."""
        made: tuple[Rows, Rows, Array] = self._keep(("fold", index, kind), lambda: self._make_fold(index, kind))
        return made

    def final(self, kind: MatrixKind) -> tuple[Featurizer, Rows, list[Array]]:
        """Return the featurizer of the final models, their rows in the order of `final`, and the cases' matrices."""
        made: tuple[Featurizer, Rows, list[Array]] = self._keep(("final", kind), lambda: self._make_final(kind))
        return made

    def _make_fold(self, index: int, kind: MatrixKind) -> tuple[Rows, Rows, Array]:
        material = self._material
        learn, validate = material.folds[index]
        target = np.asarray(material.target[learn])
        classes = len(np.unique(target)) if material.shape.classes else 0  # a fold may lack some
        featurizer, matrix = fit_featurizer(kind, material.rows.take(learn), target, classes, material.seed)
        validated = Rows(featurizer.transform(material.rows.take(validate)), np.asarray(material.target[validate]))
        return Rows(matrix, target), validated, featurizer.transform(material.rows.take(material.held_out))

    def _make_final(self, kind: MatrixKind) -> tuple[Featurizer, Rows, list[Array]]:
        material = self._material
        featurizer, rows = final_rows(material, kind)
        return featurizer, rows, [featurizer.transform(case) for case in material.cases]

    def _keep(self, key: tuple[object, ...], make: Any) -> Any:
        if key not in self._kept:
            made = make()
            size = sum(_size(part) for part in made)
            if self._bytes + size > KEPT_BYTES:
                self._kept.clear()
                self._bytes = 0
            self._kept[key] = made
            self._bytes += size
        return self._kept[key]


def final_rows(material: Material, kind: MatrixKind) -> tuple[Featurizer, Rows]:
    """Fit the featurizer that the released graph has, and return it with the rows of `material.final`."""
    target = np.asarray(material.target[material.final])
    featurizer, matrix = fit_featurizer(
        kind, material.rows.take(material.final), target, material.shape.classes, material.seed
    )
    return featurizer, Rows(matrix, target)


def _size(part: object) -> int:
    if isinstance(part, Rows):
        return int(part.matrix.nbytes)
    if isinstance(part, np.ndarray):
        return int(part.nbytes)
    return sum(_size(one) for one in part) if isinstance(part, Sequence) else 0
