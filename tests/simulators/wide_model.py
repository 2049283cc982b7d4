"""A model large enough that how it is loaded shows: layers of `width` neurons over two sensors."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from simulators.small_models import NUMBERS


def wide_regression(width: int) -> onnx.ModelProto:
    """prediction = a network of two hidden layers, width * width weights; its outputs are of the order of one."""
    random = np.random.default_rng(3)

    def weights(name: str, rows: int, columns: int) -> onnx.TensorProto:
        values = random.normal(size=(rows, columns)) / np.sqrt(rows)
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Concat", list(NUMBERS), ["row"], axis=1),
        helper.make_node("Mul", ["row", "scale"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "third"], ["prediction"]),
    ]
    constants = [
        weights("first", len(NUMBERS), width),
        weights("second", width, width),
        weights("third", width, 1),
        numpy_helper.from_array(np.array([0.02], np.float32), "scale"),
    ]
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in (*NUMBERS, "prediction")]
    graph = helper.make_graph(nodes, "wide", sides[:-1], sides[-1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
