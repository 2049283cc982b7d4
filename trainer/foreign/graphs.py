"""ONNX graphs that others made, brought into the form of a release: named columns in, known outputs out.

Taken as they are: one input per column, float32 or string, shape (rows, 1). A single float32 matrix is fed from
the columns in their order. Outputs: one number a row, or a label and probabilities (a ZipMap is taken off).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from protocols.manifest import Task
from trainer.columns import Kind
from trainer.errors import ExportError, ImportRefusedError
from trainer.export import rename
from trainer.graph.form import serialize

_MATRIX = "genba_matrix"
_WAY_OUT = "export it with one float32 or string input of shape (rows, 1) per column, or one float32 matrix"


@dataclass(frozen=True, slots=True)
class ForeignGraph:
    """A graph in the form of a release.

    Attributes:
        columns, kinds: its inputs in order.
        classes: as text, in the order of the probabilities; empty for a regression.
        integers: the labels are int64 rather than text.
    """

    data: bytes
    task: Task
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    classes: tuple[str, ...]
    integers: bool


def adopt(model: onnx.ModelProto, columns: Sequence[str], names_of: Mapping[str, str] | None = None) -> ForeignGraph:
    """Bring a graph into the form of a release.

    Args:
        columns: of the sample, without the target, in order.
        names_of: input -> column, where they are called differently.

    Raises:
        ImportRefusedError: its inputs or outputs are of a form that a device could not feed or read.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    mapping = {entry.name: (names_of or {}).get(entry.name, entry.name) for entry in inputs}
    if all(name in columns for name in mapping.values()) and all(_is_column(entry) for entry in inputs):
        names = list(mapping.values())
        kinds = [_kind(entry) for entry in inputs]
    elif len(inputs) == 1 and _elem(inputs[0]) == TensorProto.FLOAT and len(_dims(inputs[0])) == 2:
        names, kinds = list(columns), ["number"] * len(columns)
        mapping = _split_matrix(graph, inputs[0], names)
    else:
        shown = ", ".join(f"{entry.name!r} {_shown(entry)}" for entry in inputs)
        raise ImportRefusedError(f"the model's inputs ({shown}) do not match the sample's columns: {_WAY_OUT}")
    _free_rows(graph)
    task, classes, integers = settle_outputs(graph)
    outputs = ["prediction", "probabilities"] if task == "classification" else ["prediction"]
    try:
        data = serialize(rename(model, mapping, outputs))
    except ExportError as error:
        raise ImportRefusedError(f"the model cannot be brought into the form of a release: {error}") from error
    return ForeignGraph(data, task, tuple(names), tuple(kinds), classes, integers)


def _split_matrix(graph: onnx.GraphProto, matrix: onnx.ValueInfoProto, names: Sequence[str]) -> dict[str, str]:
    """Replace a matrix input by one input per column; return internal name -> column name."""
    width = _dims(matrix)[1]
    if isinstance(width, int) and width != len(names):
        raise ImportRefusedError(
            f"the model takes {width} columns and the sample has {len(names)} without its target: "
            f"give --sample a table of exactly the model's columns, in their order (and --target)"
        )
    internal = [f"{_MATRIX}_{index}" for index in range(len(names))]
    kept = [entry for entry in graph.input if entry.name != matrix.name]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in internal]
    joined = helper.make_node("Concat", internal, [matrix.name], axis=1)
    nodes = [joined, *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.extend([*made, *kept])
    graph.node.extend(nodes)
    return dict(zip(internal, names, strict=True))


def _free_rows(graph: onnx.GraphProto) -> None:
    """Let the number of rows vary, as a device batches what waits."""
    weights = {tensor.name for tensor in graph.initializer}
    for entry in graph.input:
        if entry.name not in weights:
            entry.type.tensor_type.shape.dim[0].dim_param = "rows"


def settle_outputs(graph: onnx.GraphProto, classes: Sequence[str] = ()) -> tuple[Task, tuple[str, ...], bool]:
    """Give the outputs the form of a release; return task, classes and whether labels are integers.

    Args:
        classes: where they are known already; else the graph must say them.
    """
    _take_off_zipmap(graph)
    kinds = [_elem(entry) for entry in graph.output]
    if kinds == [TensorProto.FLOAT]:
        _as_column(graph)
        return "regression", (), False
    if len(kinds) == 2 and kinds[0] in (TensorProto.INT64, TensorProto.STRING) and kinds[1] == TensorProto.FLOAT:
        integers = kinds[0] == TensorProto.INT64
        labels = tuple(classes) or _labels(graph, integers)
        del graph.output[0].type.tensor_type.shape.dim[:], graph.output[1].type.tensor_type.shape.dim[:]
        graph.output[0].type.tensor_type.shape.dim.add().dim_param = "rows"
        graph.output[1].type.tensor_type.shape.dim.add().dim_param = "rows"
        graph.output[1].type.tensor_type.shape.dim.add().dim_value = len(labels)
        return "classification", labels, integers
    shown = ", ".join(f"{entry.name!r} {_shown(entry)}" for entry in graph.output)
    raise ImportRefusedError(
        f"the model's outputs ({shown}) are not one float32 number a row, nor a label and float32 probabilities: "
        f"export it with one of these"
    )


def _as_column(graph: onnx.GraphProto) -> None:
    """Reshape the one output to (rows, 1)."""
    width = _dims(graph.output[0])[1:]
    if any(isinstance(size, int) and size != 1 for size in width):
        raise ImportRefusedError(
            f"the model gives {width} numbers a row: a regression gives one, a classifier a label and probabilities; "
            "where they are of classes, name these by --classes A,B,..."
        )
    inner = graph.output[0].name
    used = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    made = next(name for name in _numbered("genba_prediction") if name not in used)
    shape = next(name for name in _numbered("genba_column") if name not in used)
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), shape))
    graph.node.append(helper.make_node("Reshape", [inner, shape], [made]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, ["rows", 1]))


def _numbered(name: str) -> Iterator[str]:
    """Yield a name and the name with a number behind it: a graph may have been through here before."""
    yield name
    for index in itertools.count(2):
        yield f"{name}_{index}"


def _take_off_zipmap(graph: onnx.GraphProto) -> None:
    """Take the tensor that a ZipMap would turn into one dictionary a row."""
    found = [node for node in graph.node if node.op_type == "ZipMap"]
    if len(found) != 1 or len(graph.output) != 2 or graph.output[1].name != found[0].output[0]:
        return
    graph.output[1].CopyFrom(helper.make_tensor_value_info(found[0].input[0], TensorProto.FLOAT, ["rows", None]))
    graph.node.remove(found[0])


def _labels(graph: onnx.GraphProto, integers: bool) -> tuple[str, ...]:
    """The classes that the graph's classifier names, or for integers 0, 1, ... as many as it has probabilities."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                return tuple(str(value) for value in attribute.ints)
            if attribute.name == "classlabels_strings" and attribute.strings:
                return tuple(value.decode() for value in attribute.strings)
    sizes = _dims(graph.output[1])
    if integers and len(sizes) == 2 and isinstance(sizes[1], int):
        return tuple(str(value) for value in range(sizes[1]))
    raise ImportRefusedError("the model does not say which classes it has: export it with its class labels")


def _elem(entry: onnx.ValueInfoProto) -> int:
    """The element type, or 0 for what is no tensor."""
    return int(entry.type.tensor_type.elem_type) if entry.type.HasField("tensor_type") else 0


def _dims(entry: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in entry.type.tensor_type.shape.dim]


def _is_column(entry: onnx.ValueInfoProto) -> bool:
    dims: list[Any] = _dims(entry)
    return _elem(entry) in (TensorProto.FLOAT, TensorProto.STRING) and len(dims) == 2 and dims[1] == 1


def _kind(entry: onnx.ValueInfoProto) -> Kind:
    return "number" if _elem(entry) == TensorProto.FLOAT else "category"


def _shown(entry: onnx.ValueInfoProto) -> str:
    kind = TensorProto.DataType.Name(_elem(entry)).lower() if _elem(entry) else "no tensor"
    return f"{kind}{_dims(entry)}"
