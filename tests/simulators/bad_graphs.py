"""ONNX files that no device could run: each with the words by which it must be refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from simulators.small_models import NUMBERS, regression


def not_one() -> bytes:
    return b"this is no model\n" * 100


def empty() -> bytes:
    return b""


def cut_short() -> bytes:
    return regression().SerializeToString()[:-40]


def custom_operator() -> bytes:
    model = regression()
    model.graph.node[-1].domain = "acme.press"
    model.opset_import.append(helper.make_opsetid("acme.press", 1))
    return model.SerializeToString()


def future_opset() -> bytes:
    model = regression()
    model.opset_import[0].version = 999
    return model.SerializeToString()


def future_format() -> bytes:
    model = regression()
    model.ir_version = 99
    return model.SerializeToString()


def outside(location: str = "../../etc/passwd") -> bytes:
    """Its weights lie where its maker says."""
    model = regression()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    del tensor.float_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return model.SerializeToString()


def impossible_shape() -> bytes:
    model = regression()
    model.graph.initializer[0].dims[:] = [-3]
    return model.SerializeToString()


def lying_weights() -> bytes:
    """A tensor that says that it is a terabyte, and holds eight bytes."""
    model = regression()
    index = [tensor.name for tensor in model.graph.initializer].index("weights")
    model.graph.initializer[index].CopyFrom(numpy_helper.from_array(np.zeros((2, 1), np.float32), "weights"))
    model.graph.initializer[index].dims[:] = [2**38, 1]
    return model.SerializeToString()


def huge_inside(elements: int = 2**40) -> bytes:
    """What it computes on the way is told to be terabytes, for one row."""
    model = regression()
    model.graph.value_info.append(helper.make_tensor_value_info("row", TensorProto.FLOAT, [None, elements]))
    return model.SerializeToString()


def deep(depth: int = 40) -> bytes:
    """Branches in branches, deeper than protobuf itself would write."""

    def part(number: int, value: bytes) -> bytes:
        size = len(value)
        return bytes([number << 3 | 2, size & 0x7F | 0x80, size >> 7]) + value

    graph = b""
    for _ in range(depth):
        graph = part(1, part(4, b"If") + part(5, part(6, graph)))
    whole = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
    return whole.SerializeToString() + part(7, graph)


BAD: list[tuple[Callable[[], bytes], str]] = [
    (not_one, "it is not an ONNX model"),
    (empty, "it is not an ONNX model"),
    (cut_short, "it is cut short"),
    (custom_operator, "it needs the custom operator acme.press.Add"),
    (future_opset, "it needs opset 999 of ai.onnx, and"),
    (future_format, "it is in version 99 of the ONNX format"),
    (outside, r"'\.\./\.\./etc/passwd'"),
    (impossible_shape, r"has the shape \[-3\]"),
    (lying_weights, "its tensor 'weights' holds 8 bytes, and its shape asks for 1099511627776"),
    (deep, "its graphs lie more than 32 deep"),
]


def hungry_matrix(elements: float = 4e9) -> onnx.ModelProto:
    """prediction = sum of the row + the sum of so many ones: dynamic, so that no shape tells of it."""
    from onnx import TensorProto

    row = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(NUMBERS)])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    nodes = [
        helper.make_node("ReduceSum", ["X", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceMax", ["X"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "many"], ["wanted"]),
        helper.make_node("Cast", ["wanted"], ["count"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["count", "first"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["added"], keepdims=0),
        helper.make_node("Add", ["sum", "added"], ["y"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("many", TensorProto.FLOAT, [], [elements]),
    ]
    graph = helper.make_graph(nodes, "hungry", [row], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def damaged(data: bytes, rounds: int) -> Iterator[bytes]:
    """Yield the bytes with one changed, by turns over all of the file."""
    random = np.random.default_rng(5)
    for _ in range(rounds):
        place, value = int(random.integers(len(data))), int(random.integers(256))
        yield data[:place] + bytes([value]) + data[place + 1 :]


def put_weights(folder: Path, name: str, **_: Any) -> None:
    """Write the weights that `outside(name)` looks for."""
    (folder / name).write_bytes(np.array([2.0, -1.0], np.float32).tobytes())
