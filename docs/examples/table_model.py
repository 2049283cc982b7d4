"""An example of a table's model: one row of sensors in, one number out.

    python docs/examples/table_model.py ./table

writes model.onnx, a linear fit of a power plant's output with one (rows, 1) input a column, and sample.csv.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLUMNS = ("temperature", "vacuum", "humidity")


def readings(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return made-up readings (rows, columns) and the power that belongs to them."""
    random = np.random.default_rng(1)
    table = random.normal([20.0, 54.0, 73.0], [7.0, 12.0, 14.0], (rows, 3)).astype(np.float32)
    return table, 500 - 1.8 * table[:, 0] - 0.3 * table[:, 1] + random.normal(0, 2, rows)


def network(weights: np.ndarray, bias: float) -> onnx.ModelProto:
    """Return power = weights * columns + bias."""
    nodes = [
        helper.make_node("Concat", list(COLUMNS), ["row"], axis=1),
        helper.make_node("MatMul", ["row", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "bias"], ["power"]),
    ]
    constants = [
        numpy_helper.from_array(weights.astype(np.float32).reshape(-1, 1), "weights"),
        numpy_helper.from_array(np.array([bias], dtype=np.float32), "bias"),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in COLUMNS]
    outputs = [helper.make_tensor_value_info("power", TensorProto.FLOAT, ["rows", 1])]
    graph = helper.make_graph(nodes, "table", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def prepare(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write sample.csv into a folder, and return its readings and power."""
    folder.mkdir(parents=True, exist_ok=True)
    table, power = readings()
    with (folder / "sample.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "power"])
        writer.writerows([*row, value] for row, value in zip(table.tolist(), power.tolist(), strict=True))
    return table, power


def main(folder: Path) -> None:
    table, power = prepare(folder)
    fit = np.linalg.lstsq(np.column_stack([table, np.ones(len(table))]), power, rcond=None)[0]
    onnx.save(network(fit[:-1], float(fit[-1])), folder / "model.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
