"""One float32 graph and its int8 variants, as ONNX Runtime's own quantiser makes them, with rows to try them on."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from simulators.small_kinds import COLUMNS, NUMBER, Kind

from protocols.feeding import Window

INPUTS, HIDDEN, ROWS = 16, 64, 512
UNSIGNED, SEVEN_BITS, EIGHT_BITS = (
    "int8, unsigned weights",
    "int8, signed weights of 7 bits",
    "int8, signed weights of 8 bits",
)
#: name -> (signed weights, seven bits of them). Activations are unsigned in each, as ONNX Runtime's default is.
VARIANTS = {UNSIGNED: (False, False), SEVEN_BITS: (True, True), EIGHT_BITS: (True, False)}


def rows(count: int = ROWS, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 1, (count, INPUTS)).astype(np.float32)


def dense(seed: int = 0) -> onnx.ModelProto:
    """Two hidden layers, fitted to a target of deviation 1, so that a difference is a share of that."""
    from sklearn.neural_network import MLPRegressor

    inputs = rows(3000, seed + 10)
    target = np.sin(inputs[:, 0]) + inputs[:, 1] * inputs[:, 2] + np.abs(inputs[:, 3:6]).sum(axis=1)
    target = (target - target.mean()) / target.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could be fitted further
        fitted = MLPRegressor(hidden_layer_sizes=(HIDDEN, HIDDEN), max_iter=60, random_state=seed).fit(inputs, target)
    nodes, constants, last = [], [], "x"
    for place, (weights, bias) in enumerate(zip(fitted.coefs_, fitted.intercepts_, strict=True)):
        end = place == len(fitted.coefs_) - 1
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{place}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"b{place}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{place}", f"b{place}"], ["y" if end else f"g{place}"]))
        if not end:
            nodes.append(helper.make_node("Relu", [f"g{place}"], [f"r{place}"]))
            last = f"r{place}"
    return _model(nodes, constants, [None, INPUTS])


def convolution(seed: int = 0) -> onnx.ModelProto:
    """A filter of 16 channels over a row as a signal, a second one, and a sum: weights as they are drawn."""
    random = np.random.default_rng(seed)
    first = random.uniform(-1, 1, (16, 1, 3)).astype(np.float32)
    second = random.uniform(-0.2, 0.2, (16, 16, 3)).astype(np.float32)
    last = random.uniform(-0.05, 0.05, (16 * INPUTS, 1)).astype(np.float32)
    shape = np.array([0, 1, INPUTS], np.int64)
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in (("first", first), ("second", second), ("last", last), ("shape", shape))
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["signal"]),
        helper.make_node("Conv", ["signal", "first"], ["c1"], pads=[1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "second"], ["c2"], pads=[1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["flat"]),
        helper.make_node("MatMul", ["flat", "last"], ["y"]),
    ]
    return _model(nodes, constants, [None, INPUTS])


def write_variants(folder: Path, model: onnx.ModelProto) -> dict[str, Path]:
    """Write the graph and its int8 variants; return name -> file, float32 first."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Calibration(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rows: Iterator[Any] = iter(rows())  # the rows that are tried: nothing lies outside a range

        def get_next(self) -> dict[str, Any] | None:
            row = next(self._rows, None)
            return None if row is None else {"x": row.reshape(1, -1)}

    logging.disable(logging.WARNING)  # that a graph may be prepared first, for each layer of each
    folder.mkdir(parents=True, exist_ok=True)
    found = {"float32": folder / "float32.onnx"}
    onnx.save(model, found["float32"])
    for place, (name, (signed, reduced)) in enumerate(VARIANTS.items()):
        found[name] = folder / f"int8-{place}.onnx"
        quantize_static(
            found["float32"],
            found[name],
            Calibration(),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            reduce_range=reduced,
        )
    logging.disable(logging.NOTSET)
    return found


def as_window(graph: Path) -> Kind:
    """Return the graph of a file as a model that takes a window of eight rows of two columns."""
    model = onnx.load(graph)
    inner, length = model.graph, INPUTS // len(COLUMNS)
    inner.node.insert(0, helper.make_node("Reshape", ["rows", "flat"], ["x"]))
    inner.node.append(helper.make_node("Identity", ["y"], ["prediction"]))
    inner.initializer.append(numpy_helper.from_array(np.array([-1, INPUTS], np.int64), "flat"))
    del inner.input[:], inner.output[:]
    inner.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, length, len(COLUMNS)]))
    inner.output.append(helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1]))
    golden = rows(64).reshape(-1, length, len(COLUMNS))
    return Kind(model, COLUMNS, NUMBER, [golden], Window("rows", length))


def _model(nodes: list[Any], constants: list[Any], shape: list[Any]) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "quantised", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
