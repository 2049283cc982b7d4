"""Graphs in less precision: int8 by ONNX Runtime's own tools, float16 layer by layer.

The first and the last layer stay as they are: the first sees the sensors, whose scales differ, and the last gives the
answer; together they hold few weights and most of the error.

ONNX Runtime's converter to float16 has every value pass through it, the sensors' included, of which too little is left.

Source: ONNX Runtime, "Quantize ONNX models"; onnxruntime.quantization.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from trainer.errors import ImportRefusedError

Way = Literal["static", "dynamic"]
Feed = Mapping[str, np.ndarray[Any, Any]]
#: Operators whose weights are worth it.
_LAYERS = ("MatMul", "Gemm", "Conv")
_CALIBRATION_ROWS = 64


def to_int8(graph: bytes, way: Way, calibration: Sequence[Feed]) -> bytes:
    """Return the graph with int8 weights.

    Args:
        way: `static` fixes the scales of what flows between the layers by the calibration; `dynamic` finds them anew
            in each run.
        calibration: rows as the graph takes them, a feed each.

    Raises:
        ImportRefusedError: it has no layer that int8 changes.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        """Feeds the calibration's rows, a batch at a time."""

        def __init__(self) -> None:
            self._feeds = iter(calibration)

        def get_next(self) -> Feed | None:
            return next(self._feeds, None)

    common = {
        "op_types_to_quantize": list(_LAYERS),
        "per_channel": True,
        "weight_type": QuantType.QInt8,
        "nodes_to_exclude": _ends(graph, "int8"),
    }

    def make(source: Path, out: Path) -> None:
        if way == "dynamic":
            quantize_dynamic(source, out, **common)
        else:
            formed = {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QInt8}
            # What a layer gives stays float32: half the error for hardly any time.
            options = {"OpTypesToExcludeOutputQuantization": list(_LAYERS)}
            quantize_static(source, out, Rows(), extra_options=options, **formed, **common)

    return _through_files(graph, make)


def to_float16(graph: bytes) -> bytes:
    """Return the graph with its layers in float16; all else, raw sensors above all, stays float32.

    Raises:
        ImportRefusedError: it has no layer that float16 changes.
    """
    model = onnx.ModelProto.FromString(graph)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    # Layers in float64 are so because float32 was not enough.
    kept = {info.name for info in inferred if info.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE}
    ends = _ends(graph, "float16")
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type not in _LAYERS or node.name in ends or node.output[0] in kept:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            node.input[place] = f"{name}/half"
            if name in weights:
                half = onnx.numpy_helper.to_array(weights[name]).astype(np.float16)
                model.graph.initializer.append(onnx.numpy_helper.from_array(half, f"{name}/half"))
            elif not any(f"{name}/half" in before.output for before in nodes):
                nodes.append(_cast(name, f"{name}/half", onnx.TensorProto.FLOAT16))
        given = node.output[0]
        node.output[0] = f"{given}/whole"
        nodes += [node, _cast(f"{given}/whole", given, onnx.TensorProto.FLOAT)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model.graph)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _cast(source: str, to: str, kind: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [to], name=f"cast {to}", to=kind)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Leave out weights that no node takes any more, and all but the first of one name."""
    taken = {name for node in graph.node for name in node.input}
    kept = {tensor.name: tensor for tensor in reversed(graph.initializer) if tensor.name in taken}
    del graph.initializer[:]
    graph.initializer.extend(reversed(kept.values()))


def batches(feed: Feed) -> list[Feed]:
    """Return rows in batches, as a calibration reads them."""
    rows = len(next(iter(feed.values())))
    return [
        {name: values[start : start + _CALIBRATION_ROWS] for name, values in feed.items()}
        for start in range(0, rows, _CALIBRATION_ROWS)
    ]


def _ends(graph: bytes, precision: str) -> list[str]:
    """Return the names of the first and the last layer, where there are others between them."""
    layers = [node.name for node in onnx.ModelProto.FromString(graph).graph.node if node.op_type in _LAYERS]
    if not layers:
        raise ImportRefusedError(
            f"the model has no layer ({', '.join(_LAYERS)}) that {precision} changes: serve it as it is"
        )
    return [layers[0], layers[-1]] if len(layers) > 2 else []


def _through_files(graph: bytes, make: Callable[[Path, Path], None]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="genba-") as folder, _quiet():
        source, out = Path(folder, "model.onnx"), Path(folder, "made.onnx")
        source.write_bytes(graph)
        make(source, out)
        return out.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """The tools recommend things to whoever calls them from a notebook; that is not who uses a command."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
