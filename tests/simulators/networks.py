"""Networks as other frameworks export them: windows in several layouts, images to logits, recurrent cells."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _value(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def _weights(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def convolution(rows: int = 12, columns: int = 3, *, outputs: int = 1) -> onnx.ModelProto:
    """A 1-D convolution as PyTorch exports it: (batch, columns, rows) in, `outputs` numbers a window."""
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[2], keepdims=0),
        helper.make_node("Gemm", ["m", "dense", "bias"], ["y"]),
    ]
    weights = {"kernel": _weights(8, columns, 3), "dense": _weights(8, outputs, seed=2), "bias": _weights(outputs)}
    return _model(nodes, [_value("x", ["batch", columns, rows])], [_value("y", ["batch", outputs])], weights)


def dense_window(rows: int = 12, columns: int = 3) -> onnx.ModelProto:
    """A dense layer over a flattened window: (batch, rows * columns) in."""
    nodes = [helper.make_node("MatMul", ["x", "dense"], ["y"])]
    weights = {"dense": _weights(rows * columns, 1)}
    return _model(nodes, [_value("x", ["batch", rows * columns])], [_value("y", ["batch", 1])], weights)


def one_batch_alone(rows: int = 12, columns: int = 3) -> onnx.ModelProto:
    """Takes the mean over the whole batch: right for one window, wrong for several."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 1, 2], keepdims=0),
        helper.make_node("Reshape", ["m", "shape"], ["y"]),
    ]
    weights = {"shape": np.array([1, 1], dtype=np.int64)}
    return _model(nodes, [_value("x", [1, rows, columns])], [_value("y", [1, 1])], weights)


def lstm(rows: int = 1, columns: int = 3, hidden: int = 5) -> onnx.ModelProto:
    """An LSTM as PyTorch exports it: (rows, batch, columns), h0 and c0 in; the number, hn and cn out."""
    nodes = [
        helper.make_node(
            "LSTM", ["x", "w", "r", "b", "", "h0", "c0"], ["all", "hn", "cn"], hidden_size=hidden
        ),
        helper.make_node("Squeeze", ["hn", "first"], ["last"]),
        helper.make_node("Gemm", ["last", "dense"], ["y"]),
    ]  # fmt: skip
    weights = {
        "w": _weights(1, 4 * hidden, columns),
        "r": _weights(1, 4 * hidden, hidden, seed=2),
        "b": _weights(1, 8 * hidden, seed=3),
        "dense": _weights(hidden, 1, seed=4),
        "first": np.array([0], dtype=np.int64),
    }
    state = [1, "batch", hidden]
    inputs = [_value("x", [rows, "batch", columns]), _value("h0", state), _value("c0", state)]
    outputs = [_value("y", ["batch", 1]), _value("hn", state), _value("cn", state)]
    return _model(nodes, inputs, outputs, weights)


def filter_by_column(names: list[str]) -> onnx.ModelProto:
    """A first-order filter of the sum of its columns, one input a column: level' = 0.9 level + 0.1 sum."""
    nodes = [
        helper.make_node("Sum", names, ["sum"]),
        helper.make_node("Mul", ["sum", "tenth"], ["in"]),
        helper.make_node("Mul", ["level", "rest"], ["kept"]),
        helper.make_node("Add", ["in", "kept"], ["next_level"]),
        helper.make_node("Mul", ["next_level", "ten"], ["y"]),
    ]
    weights = {name: np.array([value], np.float32) for name, value in (("tenth", 0.1), ("rest", 0.9), ("ten", 10.0))}
    inputs = [*(_value(name, [1, 1]) for name in names), _value("level", [1, 1])]
    return _model(nodes, inputs, [_value("y", [1, 1]), _value("next_level", [1, 1])], weights)


def vision(side: int = 16, outputs: int = 3, *, layout: str = "NCHW", ends: str = "") -> onnx.ModelProto:
    """A small convolutional network; `ends` with an operator such as Softmax or Sigmoid, or with logits."""
    nodes = []
    taken = "x"
    shape: list[Any] = ["batch", 3, side, side]
    if layout == "NHWC":
        shape = ["batch", side, side, 3]
        nodes.append(helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]))
        taken = "t"
    nodes += [
        helper.make_node("Conv", [taken, "kernel"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "dense", "bias"], ["y" if not ends else "logits"]),
    ]
    if ends:
        nodes.append(helper.make_node(ends, ["logits"], ["y"]))
    weights = {"kernel": _weights(6, 3, 3, 3), "dense": _weights(6, outputs, seed=2), "bias": _weights(outputs, seed=5)}
    return _model(nodes, [_value("x", shape)], [_value("y", ["batch", outputs])], weights)
