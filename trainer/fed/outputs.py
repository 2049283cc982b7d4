"""What the outputs of a network mean: a number, or classes by their probabilities, logits or labels."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainer.errors import ImportRefusedError
from trainer.foreign.graphs import settle_outputs

Array = np.ndarray[Any, Any]
Form = Literal["labelled", "number", "probabilities", "logits", "share", "logit"]

_ML = "ai.onnx.ml"


@dataclass(frozen=True, slots=True)
class Settled:
    """What a graph gives.

    Attributes:
        form: `labelled` has a label and probabilities already; `number` is a regression's; `probabilities` and
            `logits` are one a class; `share` and `logit` are one number, of the second of two classes.
        classes: as text, in the order of the probabilities.
    """

    form: Form
    classes: tuple[str, ...] = ()


def read_outputs(
    graph: onnx.GraphProto, state: Collection[str], outputs: Sequence[Array], classes: Sequence[str]
) -> Settled:
    """Return what a graph's outputs mean, from what they are for the sample.

    Args:
        state: names of outputs that are state.
        outputs: the others', rows first.
        classes: that the user named.

    Raises:
        ImportRefusedError: they are of no form that a device could read, or do not match the classes.
    """
    classes = tuple(map(str, classes))
    if len(outputs) == 2 and outputs[0].dtype.kind in "iUOS" and outputs[1].dtype == np.float32:
        return Settled("labelled", classes or _own_classes(graph, state))
    if len(outputs) != 1 or outputs[0].dtype != np.float32:
        shown = ", ".join(f"{output.dtype}{list(output.shape[1:])}" for output in outputs)
        raise ImportRefusedError(
            f"the model gives {shown or 'nothing'} a row, less its state: export it with one float32 output, a number "
            "or the probabilities of its classes"
        )
    values = outputs[0].reshape(len(outputs[0]), -1)
    values = values[np.isfinite(values).all(axis=1)]
    width = values.shape[1]
    if width == 1 and not classes:
        return Settled("number")
    if width == 1 and len(classes) == 2:
        shares = bool((values >= 0).all() and (values <= 1).all())
        return Settled("share" if shares else "logit", classes)
    if width != len(classes):
        named = f"--classes names {len(classes)}" if classes else "they have no names"
        raise ImportRefusedError(
            f"the model gives {width} numbers a row, and {named}: name what they are the probabilities of, in their "
            f"order, by --classes A,B,...; of more than one number that are no classes none can be served"
        )
    sums = values.sum(axis=1)
    shares = bool((values >= 0).all() and (np.abs(sums - 1) < 1e-3).all())
    return Settled("probabilities" if shares else "logits", classes)


def _own_classes(graph: onnx.GraphProto, state: Collection[str]) -> tuple[str, ...]:
    """Return the classes that a graph with labels and probabilities names itself."""
    copy = onnx.GraphProto.FromString(graph.SerializeToString())
    for entry in [entry for entry in copy.output if entry.name in state]:
        copy.output.remove(entry)
    return settle_outputs(copy)[1]


def followed(outputs: Sequence[Array], settled: Settled) -> Array:
    """Return what a proof compares: probabilities (rows, classes), or predictions (rows,), from the maker's outputs."""
    if settled.form == "labelled":
        return outputs[1]
    values = outputs[0].reshape(len(outputs[0]), -1).astype(np.float64)
    if settled.form == "number":
        return values[:, 0]
    if settled.form in ("share", "logit"):
        share = values if settled.form == "share" else 1 / (1 + np.exp(-values))
        return np.hstack([1 - share, share])
    if settled.form == "logits":
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    return values


def settle(model: onnx.ModelProto, settled: Settled) -> None:
    """Give the graph's outputs, less its state, the form of a release's."""
    graph = model.graph
    if settled.form in ("labelled", "number"):
        settle_outputs(graph, settled.classes)
        return
    width, classes = len(settled.classes), settled.classes
    inner = graph.output[0].name
    nodes = [helper.make_node("Reshape", [inner, "genba_shape"], ["genba_flat_output"])]
    flat = np.array([-1, 1 if settled.form in ("share", "logit") else width], dtype=np.int64)
    graph.initializer.append(numpy_helper.from_array(flat, "genba_shape"))
    if settled.form in ("share", "logit"):
        nodes += _two_classes(graph, settled.form)
    elif settled.form == "logits":
        nodes.append(helper.make_node("Softmax", ["genba_flat_output"], ["genba_probabilities"], axis=1))
    else:
        nodes.append(helper.make_node("Identity", ["genba_flat_output"], ["genba_probabilities"]))
    nodes.append(helper.make_node("ArgMax", ["genba_probabilities"], ["genba_best"], axis=1, keepdims=0))
    nodes.append(
        helper.make_node(
            "LabelEncoder", ["genba_best"], ["genba_label"], domain=_ML,
            keys_int64s=list(range(width)), values_strings=list(classes),
        )
    )  # fmt: skip
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("genba_label", TensorProto.STRING, ["rows"]))
    graph.output.append(helper.make_tensor_value_info("genba_probabilities", TensorProto.FLOAT, ["rows", width]))
    if all(entry.domain != _ML for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_ML, 3))


def _two_classes(graph: onnx.GraphProto, form: Form) -> list[onnx.NodeProto]:
    graph.initializer.append(numpy_helper.from_array(np.array([1], dtype=np.float32), "genba_one"))
    share = "genba_flat_output"
    nodes = []
    if form == "logit":
        share = "genba_share"
        nodes.append(helper.make_node("Sigmoid", ["genba_flat_output"], [share]))
    nodes.append(helper.make_node("Sub", ["genba_one", share], ["genba_rest"]))
    nodes.append(helper.make_node("Concat", ["genba_rest", share], ["genba_probabilities"], axis=1))
    return nodes
