"""Building one ONNX graph out of parts that each add their nodes to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainer.graph.form import (
    ROWS,
    TARGET_OPSET,
    TEXT_OPERATORS,
    TEXT_OPSET,
    TREE_OPERATOR,
    TREE_OPSET,
    serialize,
)

#: As old as may be, so that old runtimes read it.
IR_VERSION, TEXT_IR_VERSION = 8, 9
#: Operators whose axes became an input between our two operator sets.
_AXES = ("ReduceMean", "ReduceSumSquare")


class GraphBuilder:
    """Nodes and constants in the order in which they were added; tensors are called t/0, t/1, ...

    Equal calls in equal order give equal bytes.
    """

    def __init__(self, inputs: Sequence[tuple[str, int]], *, width: int = 1) -> None:
        """Begin a graph.

        Args:
            inputs: names and element types (onnx.TensorProto) of its inputs, each of shape (rows, width).
        """
        self._inputs = [helper.make_tensor_value_info(name, kind, [ROWS, width]) for name, kind in inputs]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._made = 0
        self._prefix = "t"
        while any(name.startswith(f"{self._prefix}/") for name, _ in inputs):
            self._prefix += "t"

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant tensor and return its name; text must be an object array of str."""
        array = np.asarray(value, dtype=dtype)
        name = self._name()
        self._constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        return self.add_many(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node and return its outputs' names."""
        names = [self._name() for _ in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=f"n{len(self._nodes)}", domain=domain)
        # Sorted: a mapping's order would otherwise be part of the digest.
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self._nodes.append(node)
        return names

    def output(self, tensor: str, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Call a tensor an output of the graph."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name=f"n{len(self._nodes)}"))
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def finish(self) -> bytes:
        """Return the checked graph's bytes. Raises ExportError where it contradicts itself."""
        texts = any(node.op_type in TEXT_OPERATORS for node in self._nodes)
        if texts:
            self._move_axes()
        graph = helper.make_graph(self._nodes, "genba", self._inputs, self._outputs, self._constants)
        used = {node.domain for node in self._nodes} | {""}
        trees = any(node.op_type == TREE_OPERATOR for node in self._nodes)
        versions = {
            "": TEXT_OPSET if texts else TARGET_OPSET[""],
            "ai.onnx.ml": TREE_OPSET if trees else TARGET_OPSET["ai.onnx.ml"],
        }
        opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items() if domain in used]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="genba")
        model.ir_version = TEXT_IR_VERSION if texts else IR_VERSION
        return serialize(model)

    def _move_axes(self) -> None:
        """Write the nodes as the newer operator set has them."""
        for node in self._nodes:
            axes = [attribute for attribute in node.attribute if attribute.name == "axes"]
            if node.op_type in _AXES and axes:
                node.input.append(self.constant(list(axes[0].ints), np.int64))
                node.attribute.remove(axes[0])

    def _name(self) -> str:
        self._made += 1
        return f"{self._prefix}/{self._made - 1}"


FLOAT, STRING, INT64 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64
