"""An example of a model with state: how far a reading lies from what the machine usually does, which it learns itself.

    python docs/examples/recurrent_model.py ./recurrent

writes model.onnx, which takes a reading, the level and the spread before it, and gives a score and both anew; and
sample.csv in the order of time.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: How much a reading counts for level and spread.
NEWS = 0.05


def readings(rows: int = 300) -> np.ndarray:
    """Return made-up pressures that wander, one of them far off."""
    random = np.random.default_rng(4)
    pressure = 6 + np.cumsum(random.normal(0, 0.01, rows)) + random.normal(0, 0.05, rows)
    pressure[250] += 1.5
    return pressure.astype(np.float32)


def network() -> onnx.ModelProto:
    """Return score = (pressure - level)^2 / spread, and level and spread with the reading in them."""
    nodes = [
        helper.make_node("Sub", ["pressure", "level"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["square"]),
        helper.make_node("Add", ["spread", "least"], ["usual"]),
        helper.make_node("Div", ["square", "usual"], ["score"]),
        helper.make_node("Mul", ["away", "news"], ["step"]),
        helper.make_node("Add", ["level", "step"], ["next_level"]),
        helper.make_node("Sub", ["square", "spread"], ["more"]),
        helper.make_node("Mul", ["more", "news"], ["wider"]),
        helper.make_node("Add", ["spread", "wider"], ["next_spread"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([NEWS], dtype=np.float32), "news"),
        numpy_helper.from_array(np.array([1e-3], dtype=np.float32), "least"),
    ]
    taken, given = ("pressure", "level", "spread"), ("score", "next_level", "next_spread")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in taken]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in given]
    graph = helper.make_graph(nodes, "recurrent", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(network(), folder / "model.onnx")
    with (folder / "sample.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pressure"])
        writer.writerows([value] for value in readings().tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
