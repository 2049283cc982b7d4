"""Export: a fitted pipeline to one ONNX graph, from raw named columns to prediction and probabilities."""

import warnings
from collections.abc import Sequence
from typing import Any

import onnx
from skl2onnx import to_onnx

from trainer.errors import ExportError
from trainer.graph.form import TARGET_OPSET


def convert(model: Any, types: Sequence[tuple[str, Any]], options: dict[Any, Any] | None) -> onnx.ModelProto:
    """Run skl2onnx. Raises ExportError where it cannot convert the model."""
    with warnings.catch_warnings():
        # skl2onnx gives protobuf booleans for integers; protobuf 7 will refuse them, which is why it is held back.
        warnings.filterwarnings("ignore", "Field onnx", DeprecationWarning)
        try:
            return to_onnx(model, initial_types=list(types), target_opset=TARGET_OPSET, options=options)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ExportError(f"skl2onnx cannot convert {type(model).__name__}: {_first_line(error)}") from error


def rename(model: onnx.ModelProto, inputs: dict[str, str], outputs: Sequence[str]) -> onnx.ModelProto:
    """Give inputs and outputs their names and everything between a number, and leave out who made it and when."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    names = dict(inputs)
    names.update(zip([value.name for value in graph.output], outputs, strict=True))
    inner = [tensor.name for tensor in graph.initializer] + [name for node in graph.node for name in node.output]
    prefix = "t"
    while any(name.startswith(f"{prefix}/") for name in names.values()):
        prefix += "t"
    for name in inner:
        names.setdefault(name, f"{prefix}/{len(names)}")
    for entry in [*graph.input, *graph.output, *graph.initializer]:
        entry.name = names[entry.name]
    for index, node in enumerate(graph.node):
        node.name = f"n{index}"
        node.output[:] = [names.get(name, name) for name in node.output]
        _rename_used(node, names)
    del graph.value_info[:]
    graph.name, graph.doc_string, model.doc_string, model.domain = "genba", "", "", ""
    model.producer_name, model.producer_version, model.model_version = "genba", "", 0
    return model


def _rename_used(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Rename what a node, and the branches and loops inside it, take from outside."""
    node.doc_string = ""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs] if attribute.g.node or attribute.graphs else []:
            own = {name for inner in graph.node for name in inner.output} | {entry.name for entry in graph.input}
            own |= {tensor.name for tensor in graph.initializer}
            outer = {name: new for name, new in names.items() if name not in own}
            for inner in graph.node:
                _rename_used(inner, outer)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
