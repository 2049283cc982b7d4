"""Gaussian processes: smooth regressions that learn how far each column reaches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize

from trainer.families.family import Parameters, Plain, Rows, Settled, Shape
from trainer.families.kernel import KernelModel
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import KernelPiece
from trainer.pieces.kernel import Kernel, similarity, squared_distances

#: Rows that the reaches are learned from, and rows and columns beyond which the family is left out.
TUNED_ROWS, MAX_ROWS, MAX_COLUMNS = 400, 2500, 40
STEPS = 40


class Process(Plain):
    """Source: Rasmussen, Williams, "Gaussian Processes for Machine Learning", algorithm 2.1 and chapter 5."""

    name = "process"
    matrix: MatrixKind = "smooth"
    simplicity = 3
    several_fits = False

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if shape.task != "regression" or shape.rows > 4 * MAX_ROWS or shape.columns > MAX_COLUMNS:
            return []
        return [{"kernel": "matern52"}, {"kernel": "rbf"}]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {"kernel": trial.suggest_categorical("kernel", ["matern52", "rbf"])}

    def prepare(self, parameters: Parameters, learn: Rows, shape: Shape, seed: int) -> Settled:
        """Learn reaches, amplitude and noise by the marginal likelihood of some rows."""
        picked = np.sort(np.random.default_rng(seed).permutation(len(learn))[:TUNED_ROWS])
        matrix = learn.matrix[picked].astype(np.float64)
        target = learn.target[picked].astype(np.float64)
        target = (target - target.mean()) / (target.std() or 1.0)
        width = matrix.shape[1]
        start = np.concatenate([np.full(width, 0.5 * np.log(width) + 0.3), [0.0, np.log(0.1)]])
        bounds = [(-2.5, 6.0)] * width + [(-2.0, 4.0), (np.log(1e-3), np.log(1.0))]
        found = scipy.optimize.minimize(
            _surprise,
            start,
            args=(matrix, target, _kernel(parameters)),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": STEPS, "maxfun": STEPS + 20},
        )
        best = found.x
        return {
            "reaches": [float(f"{value:.6g}") for value in np.exp(best[:width])],
            "amplitude": float(f"{np.exp(best[width]):.6g}"),
            "noise": float(f"{np.exp(best[width + 1]):.6g}"),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> KernelModel:
        picked = np.sort(np.random.default_rng(seed).permutation(len(learn))[:MAX_ROWS])
        target = learn.target[picked].astype(np.float64)
        middle, spread = float(target.mean()), float(target.std()) or 1.0
        if len(settled["reaches"]) != learn.matrix.shape[1]:  # texts that some rows have and others have not
            settled = self.prepare(parameters, learn, shape, seed)
        reaches = np.asarray(settled["reaches"])
        landmarks = learn.matrix[picked].astype(np.float64) / reaches
        amplitude, noise = settled["amplitude"], settled["noise"]
        kernel = _kernel(parameters)
        between = amplitude * similarity(kernel, squared_distances(landmarks, landmarks))
        between[np.diag_indices_from(between)] += noise + 1e-8
        weights = scipy.linalg.cho_solve(scipy.linalg.cho_factor(between, lower=True), (target - middle) / spread)
        piece = KernelPiece(
            kernel, reaches, landmarks, (weights * amplitude * spread)[:, None], np.array([middle]), "none"
        )
        return KernelModel(piece)


def _kernel(parameters: Parameters) -> Kernel:
    return "rbf" if parameters["kernel"] == "rbf" else "matern52"


def _surprise(values: Array, matrix: Array, target: Array, kernel: Kernel) -> tuple[float, Array]:
    """Return the negative log marginal likelihood and its gradient by the logarithms of all settings."""
    rows, width = matrix.shape
    scaled = matrix / np.exp(values[:width])
    amplitude, noise = np.exp(values[width]), np.exp(values[width + 1])
    distance = squared_distances(scaled, scaled)
    alike = amplitude * similarity(kernel, distance)
    covariance = alike.copy()
    covariance[np.diag_indices(rows)] += noise + 1e-8
    try:
        factor = scipy.linalg.cho_factor(covariance, lower=True)
    except scipy.linalg.LinAlgError:
        return 1e25, np.zeros_like(values)
    solved = scipy.linalg.cho_solve(factor, target)
    value = 0.5 * target @ solved + np.log(np.diag(factor[0])).sum() + 0.5 * rows * np.log(2 * np.pi)
    inner = np.outer(solved, solved) - scipy.linalg.cho_solve(factor, np.eye(rows))
    # The derivative of the kernel by the logarithm of a reach is this weight times the squared distance in that column.
    if kernel == "rbf":
        weight = alike
    else:
        root = np.sqrt(5.0 * distance)
        weight = amplitude * (5.0 / 3.0) * (1.0 + root) * np.exp(-root)
    pulled = inner * weight
    total = pulled.sum(axis=1)
    # sum_ij P_ij (a_i - a_j)^2 = 2 (sum_i total_i a_i^2 - a^T P a), P symmetric
    by_column = 2.0 * ((total[:, None] * scaled * scaled).sum(axis=0) - (scaled * (pulled @ scaled)).sum(axis=0))
    gradient = np.empty_like(values)
    gradient[:width] = -0.5 * by_column
    gradient[width] = -0.5 * (inner * alike).sum()
    gradient[width + 1] = -0.5 * np.trace(inner) * noise
    return float(value), gradient
