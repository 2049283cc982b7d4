"""Golden vectors: inputs that travel with a release, and the outputs that it must give on any hardware."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.errors import ReleaseRefusedError
from protocols.manifest import CONTRIBUTIONS, Manifest, Tolerance

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class GoldenVectors:
    """Columns (rows, 1) in the order of the manifest's inputs, outputs in the order of its outputs.

    Where the manifest has a feeding, the one input is its tensor; `pictures[i]` is the file that row i was decoded
    from, as far as there are any. With state, the rows follow one another.
    """

    inputs: list[Array]
    outputs: list[Array]
    pictures: tuple[bytes, ...] = ()


def read_golden(path: Path, manifest: Manifest) -> GoldenVectors:
    """Read golden.npz.

    Raises:
        ReleaseRefusedError: it is not one, or not for this manifest.
    """
    try:
        # Opened here, since NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            fed = 1 if manifest.feeding is not None else len(manifest.inputs)
            inputs = [arrays[f"input_{index}"] for index in range(fed)]
            outputs = [arrays[f"output_{index}"] for index in range(len(manifest.outputs))]
            pictures = tuple(arrays[name].tobytes() for name in arrays.files if name.startswith("picture_"))
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ReleaseRefusedError(f"{path.name}: {error}; the release must be built again") from error
    columns = _fed(path, manifest, inputs[0]) if manifest.feeding is not None else _columns(manifest, inputs)
    if len({len(array) for array in (*columns, *outputs)}) != 1 or not len(columns[0]):
        raise ReleaseRefusedError(f"{path.name}: its arrays differ in length, or are empty; build the release again")
    return GoldenVectors(columns, outputs, pictures[: len(columns[0])])


def _columns(manifest: Manifest, inputs: list[Array]) -> list[Array]:
    return [
        array.astype(object if spec.dtype == "string" else spec.dtype).reshape(-1, 1)
        for spec, array in zip(manifest.inputs, inputs, strict=True)
    ]


def _fed(path: Path, manifest: Manifest, tensor: Array) -> list[Array]:
    wanted = manifest.graph_inputs[0].shape[1:]
    if tensor.dtype != np.float32 or tensor.shape[1:] != wanted:
        raise ReleaseRefusedError(
            f"{path.name}: input_0 is {tensor.dtype} {tensor.shape[1:]} a row, and release.json says float32 {wanted}; "
            "build the release again"
        )
    return [tensor]


def compare(manifest: Manifest, want: list[Array], got: list[Array], tolerance: Tolerance) -> float:
    """Return the largest difference of a number.

    Labels must be equal, but where the golden probabilities are so close that the tolerance covers both.

    Raises:
        ReleaseRefusedError: an output lies outside the tolerance, is NaN or has another shape.
    """
    largest = 0.0
    outputs = {spec.name: (want[index], got[index]) for index, spec in enumerate(manifest.outputs)}
    tied = _tied(outputs, tolerance)
    for name, (expected, computed) in outputs.items():
        if computed.size != expected.size:
            raise ReleaseRefusedError(f"golden vectors: {name} has shape {computed.shape}, expected {expected.shape}")
        computed = computed.reshape(expected.shape)
        if name == CONTRIBUTIONS and tied is not None:  # where the answer may be another, so may its reasons
            computed = np.where(tied[:, None], expected, computed)
        if expected.dtype.kind == "f":
            largest = max(largest, _compare_numbers(name, expected, computed, tolerance))
        else:
            _compare_labels(name, expected, computed, tied)
    return largest


def _compare_numbers(name: str, want: Array, got: Array, tolerance: Tolerance) -> float:
    if not np.isfinite(got).all():
        row = int(np.argwhere(~np.isfinite(got))[0][0])
        raise ReleaseRefusedError(f"golden vectors: {name} of row {row} is {got[row].ravel()[0]}; it must be a number")
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
    excess = difference - (tolerance.absolute + tolerance.relative * np.abs(want.astype(np.float64)))
    if not (excess <= 0).all():
        worst = np.unravel_index(int(np.nanargmax(excess)), excess.shape)
        raise ReleaseRefusedError(
            f"golden vectors: {name} of row {int(worst[0])} is {got[worst]:.6g} here, expected {want[worst]:.6g} "
            f"within {tolerance.absolute:g} + {tolerance.relative:g} of it"
        )
    return float(difference.max(initial=0.0))


def _compare_labels(name: str, want: Array, got: Array, tied: Array | None) -> None:
    flips = want.astype(str) != got.astype(str)
    if tied is not None:
        flips = flips.ravel() & ~tied
    if flips.any():
        row = int(np.flatnonzero(flips)[0])
        raise ReleaseRefusedError(
            f"golden vectors: {name} of row {row} is {got.ravel()[row]} here, expected {want.ravel()[row]}"
        )


def _tied(outputs: dict[str, tuple[Array, Array]], tolerance: Tolerance) -> Array | None:
    """Return which rows' two best golden probabilities lie within twice the tolerance of each other."""
    if "probabilities" not in outputs:
        return None
    best = np.sort(outputs["probabilities"][0].astype(np.float64), axis=1)
    return np.asarray(best[:, -1] - best[:, -2] <= 2 * (tolerance.absolute + tolerance.relative), dtype=bool)
