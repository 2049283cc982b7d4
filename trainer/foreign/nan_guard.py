"""Missing values in networks: their graphs answer NaN, unless graph and original agree on a number.

What a network gives for NaN is seldom meant. TensorFlow's fused kernels turn max(0, NaN) into 0 where ONNX Runtime's
Relu keeps NaN, and its recurrent operators the other way round. A device must not send a prediction that only a
kernel's habit made.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainer.foreign.original import Original, OriginalRefusesError
from trainer.graphs import open_graph
from trainer.guardrails.rail import Guardrail

Array = np.ndarray[Any, Any]

#: Values that are taken out one by one to see what the original does.
_PROBED = 64


def settle_missing(
    model: onnx.ModelProto, original: Original, example: Sequence[Array]
) -> tuple[onnx.ModelProto, bool]:
    """Return the graph, guarded where that is needed, and whether its NaN stands against a number of the original's.

    Args:
        example: rows as the model takes them; each has the rows first.
    """
    session = open_graph(model.SerializeToString())
    names = [entry.name for entry in session.get_inputs()]
    guard = undefined = False
    for arrays in _with_holes(example):
        try:
            wanted = original.answer(arrays)
        except OriginalRefusesError:
            return model, False
        found = session.run(None, dict(zip(names, arrays, strict=True)))[0]
        if found.size == wanted.size and np.allclose(
            found.ravel(), wanted.ravel(), rtol=1e-4, atol=1e-5, equal_nan=True
        ):
            continue
        guard = True
        undefined = undefined or not np.isnan(wanted).all()
    return (_with_guard(model) if guard else model), undefined


def without_holes(answer: Array, arrays: Sequence[Array]) -> Array:
    """Return what the original answers, NaN for the rows that have a missing value."""
    gone = np.zeros(len(answer), dtype=bool)
    for array in arrays:
        gone |= np.isnan(array.reshape(len(array), -1)).any(axis=1)
    answer = np.array(answer, dtype=np.float32)
    answer[gone] = np.nan
    return answer


def missing_rail(undefined: bool) -> Guardrail:
    """Say where the release answers NaN and the original, by habit of its kernels, a number."""
    if not undefined:
        return Guardrail("answers to missing values", "passed")
    return Guardrail(
        "answers to missing values",
        "alerted",
        ("the framework's kernels turn NaN into a number on the way, ONNX Runtime's into others",),
        "the release answers NaN where a value is missing",
        "fill missing values inside the network",
    )


def _with_holes(example: Sequence[Array]) -> list[list[Array]]:
    """Return single rows, each with one missing value: each of the newest step's columns in turn."""
    made = []
    for place, array in enumerate(example):
        for column in range(min(array.shape[-1], _PROBED)):
            arrays = [np.array(each[:1], dtype=np.float32) for each in example]
            arrays[place].reshape(-1, array.shape[-1])[-1, column] = np.nan
            made.append(arrays)
    return made


def _with_guard(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with NaN for each row of which a value is NaN; its outputs have the rows first."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    flags = []
    constants = {
        "genba_none": np.array([0], dtype=np.float32),
        "genba_nan": np.array([np.nan], dtype=np.float32),
        "genba_each": np.array([-1, 1], dtype=np.int64),
        "genba_across": np.array([1], dtype=np.int64),
    }
    made = []
    for index, entry in enumerate(entry for entry in graph.input if entry.name not in weights):
        flat, gone, count = f"genba_flat_{index}", f"genba_gone_{index}", f"genba_count_{index}"
        made += [
            helper.make_node("Flatten", [entry.name], [flat], axis=1),
            helper.make_node("IsNaN", [flat], [gone]),
            helper.make_node("Cast", [gone], [f"{gone}_number"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", [f"{gone}_number", "genba_across"], [count], keepdims=0),
        ]
        flags.append(count)
    made += [
        helper.make_node("Sum", flags, ["genba_counted"]),
        helper.make_node("Reshape", ["genba_counted", "genba_each"], ["genba_by_row"]),
        helper.make_node("Greater", ["genba_by_row", "genba_none"], ["genba_unanswered"]),
    ]
    inner = f"{graph.output[0].name}_unguarded"
    for node in graph.node:
        node.output[:] = [inner if name == graph.output[0].name else name for name in node.output]
        node.input[:] = [inner if name == graph.output[0].name else name for name in node.input]
    made.append(helper.make_node("Where", ["genba_unanswered", "genba_nan", inner], [graph.output[0].name]))
    graph.node.extend(made)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model
