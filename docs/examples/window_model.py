"""An example of a time series' model: the last 24 rows of three sensors in, the wear of the tool out.

    python docs/examples/window_model.py ./window

writes model.onnx, which takes (batch, 24, 3), and sample.csv in the order of time.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLUMNS = ("vibration", "current", "temperature")
ROWS = 24


def readings(rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Return made-up readings (rows, columns) of a tool that wears, and its wear."""
    random = np.random.default_rng(2)
    wear = np.linspace(0, 1, rows)
    vibration = random.normal(0, 1, rows) * (0.2 + wear)
    current = 4 + 2 * wear + random.normal(0, 0.3, rows)
    temperature = 40 + 10 * wear + random.normal(0, 2, rows)
    return np.column_stack([vibration, current, temperature]).astype(np.float32), wear


def features(windows: np.ndarray) -> np.ndarray:
    """Return mean and mean square of each column over each window; the network computes the same."""
    return np.hstack([windows.mean(axis=1), (windows**2).mean(axis=1)])


def network(weights: np.ndarray, bias: float) -> onnx.ModelProto:
    """Return wear = weights * features + bias, of windows (batch, 24, 3)."""
    nodes = [
        helper.make_node("ReduceMean", ["window"], ["means"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["window", "window"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["powers"], axes=[1], keepdims=0),
        helper.make_node("Concat", ["means", "powers"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["wear"]),
    ]
    constants = [
        numpy_helper.from_array(weights.astype(np.float32).reshape(-1, 1), "weights"),
        numpy_helper.from_array(np.array([bias], dtype=np.float32), "bias"),
    ]
    inputs = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", ROWS, len(COLUMNS)])]
    outputs = [helper.make_tensor_value_info("wear", TensorProto.FLOAT, ["batch", 1])]
    graph = helper.make_graph(nodes, "window", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table, wear = readings()
    windows = np.stack([table[end - ROWS : end] for end in range(ROWS, len(table) + 1)])
    matrix = np.column_stack([features(windows), np.ones(len(windows))])
    fit = np.linalg.lstsq(matrix, wear[ROWS - 1 :], rcond=None)[0]
    onnx.save(network(fit[:-1], float(fit[-1])), folder / "model.onnx")
    with (folder / "sample.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "wear"])
        writer.writerows([*row, value] for row, value in zip(table.tolist(), wear.tolist(), strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
