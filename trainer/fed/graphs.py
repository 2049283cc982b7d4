"""ONNX graphs that take windows, images or state, brought into the form of a release.

The tensor of a window is always (batch, rows, columns) in a release: a transposition is put before a graph that takes
it otherwise. Outputs are those of every release, then the new state.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from protocols.feeding import StatePair
from trainer.errors import ExportError, ImportRefusedError
from trainer.export import rename
from trainer.fed.inputs import PERMUTATIONS, FedInputs, dims, inputs_of
from trainer.fed.outputs import Settled, settle
from trainer.graph.form import serialize


def build(
    model: onnx.ModelProto, inputs: FedInputs, settled: Settled, window: tuple[int, int] | None, *, batched: bool
) -> bytes:
    """Return a graph in the form of a release.

    Args:
        model: as its maker wrote it; it is left as it is.
        window: rows and columns of a window, if it takes one.
        batched: free the first dimension, so that a device may batch what waits; else it is 1.

    Raises:
        ImportRefusedError: it contradicts itself in that form.
    """
    made = onnx.ModelProto.FromString(model.SerializeToString())
    graph = made.graph
    if window is not None and not inputs.columns:
        _take_window(graph, inputs, window)
    given = {pair.output for pair in inputs.state}
    states = [entry for entry in graph.output if entry.name in given]
    states.sort(key=lambda entry: [pair.output for pair in inputs.state].index(entry.name))
    for entry in states:
        graph.output.remove(entry)
    settle(made, settled)
    outputs = ["prediction", "probabilities"][: len(graph.output)]
    _set_batch(graph, inputs, free=batched)
    graph.output.extend(states)
    _order_inputs(graph, inputs.names, inputs.state)
    names = {entry.name: entry.name for entry in inputs_of(graph)}
    try:
        return serialize(rename(made, names, [*outputs, *(pair.output for pair in inputs.state)]))
    except ExportError as error:
        raise ImportRefusedError(f"the model cannot be brought into the form of a release: {error}") from error


def _take_window(graph: onnx.GraphProto, inputs: FedInputs, window: tuple[int, int]) -> None:
    """Let the graph take (batch, rows, columns), whatever it takes inside."""
    name, inner = inputs.tensor, f"genba_{inputs.tensor}"
    entry = next(entry for entry in graph.input if entry.name == name)
    if inputs.layout in PERMUTATIONS or inputs.rank == 2:
        for node in graph.node:
            node.input[:] = [inner if taken == name else taken for taken in node.input]
        if inputs.rank == 2:
            shape = np.array([-1, window[0] * window[1]], dtype=np.int64)
            graph.initializer.append(numpy_helper.from_array(shape, "genba_flat"))
            before = helper.make_node("Reshape", [name, "genba_flat"], [inner])
        else:
            before = helper.make_node("Transpose", [name], [inner], perm=PERMUTATIONS[inputs.layout])
        nodes = [before, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *window]))


def _set_batch(graph: onnx.GraphProto, inputs: FedInputs, *, free: bool) -> None:
    """Make the first dimension of what is fed and answered free, or 1."""
    for entry in [*(entry for entry in graph.input if entry.name in inputs.names), *graph.output]:
        sizes = entry.type.tensor_type.shape.dim
        if not dims(entry):
            continue
        if free:
            sizes[0].dim_param = "rows"
        else:
            sizes[0].dim_value = 1


def _order_inputs(graph: onnx.GraphProto, fed: Sequence[str], state: Sequence[StatePair]) -> None:
    """Put the inputs into the order of the manifest: what is fed, then state, whose shapes are fixed."""
    order = [*fed, *(pair.input for pair in state)]
    entries = {entry.name: onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in graph.input}
    for pair in state:
        entries[pair.input] = helper.make_tensor_value_info(pair.input, TensorProto.FLOAT, list(pair.shape))
    del graph.input[:]
    graph.input.extend([entries.pop(name) for name in order])
    graph.input.extend(entries.values())  # weights
