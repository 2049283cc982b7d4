"""Models of Keras (.keras, .h5) and SavedModel folders, by tf2onnx."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow
import tf2onnx
from onnx import numpy_helper

from trainer.errors import ExportError
from trainer.foreign.makers.form import Array, Known, Takes
from trainer.graph.form import TARGET_OPSET


class TensorflowModel:
    """A function of one float32 tensor, the rows first, or of one (rows, 1) tensor a column.

    Args:
        call: takes as many tensors as there are specs.
    """

    def __init__(self, call: Any, specs: Sequence[Any]) -> None:
        self._specs = list(specs)
        self._function = tensorflow.function(lambda *tensors: call(*tensors), input_signature=self._specs)
        self.known = _known(self._specs)

    def convert(self, example: Sequence[Array]) -> onnx.ModelProto:
        # Keras 3 Sequential models have no output names, so that from_keras fails on them.
        made, _ = tf2onnx.convert.from_function(self._function, input_signature=self._specs, opset=TARGET_OPSET[""])
        model: onnx.ModelProto = made
        concrete = self._function.get_concrete_function(*self._specs)
        captured = {inner.name: outer for outer, inner in concrete.graph.captures if outer.dtype.is_floating}
        for entry in [entry for entry in model.graph.input if entry.name in captured]:
            # A constant of the program's, such as a normalization's mean, comes out as an input.
            model.graph.initializer.append(numpy_helper.from_array(captured[entry.name].numpy(), entry.name))
            model.graph.input.remove(entry)
        for entry, spec in zip(model.graph.input, self._specs, strict=True):
            _rename_input(model.graph, entry, spec.name)
        return model

    def answer(self, arrays: Sequence[Array]) -> Array:
        found = self._function(*[tensorflow.constant(array, dtype=tensorflow.float32) for array in arrays])
        return np.asarray(found)


def load(kind: str, path: Path, options: Mapping[str, Any]) -> TensorflowModel:
    """Load a model of the kind `keras` or `saved-model`."""
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return _keras(path, trusted=bool(options["trusted"])) if kind == "keras" else _saved_model(path)


def _keras(path: Path, *, trusted: bool) -> TensorflowModel:
    import keras

    model = keras.models.load_model(path, compile=False, safe_mode=not trusted)
    if len(model.outputs) != 1:
        raise ExportError(f"it gives {len(model.outputs)} outputs, and one is needed: save a model of one of them")
    specs = [
        tensorflow.TensorSpec([None, *entry.shape[1:]], entry.dtype, name=entry.name.partition(":")[0])
        for entry in model.inputs
    ]

    def call(*tensors: Any) -> Any:
        return model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)

    return TensorflowModel(call, specs)


def _saved_model(path: Path) -> TensorflowModel:
    loaded = tensorflow.saved_model.load(str(path))
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        known = ", ".join(map(repr, loaded.signatures)) or "none"
        raise ExportError(f"it has no signature 'serving_default' (it has {known}): save it with one")
    taken = signature.structured_input_signature[1]
    if len(signature.structured_outputs) != 1:
        raise ExportError(
            f"it gives {', '.join(map(repr, signature.structured_outputs))}, and one output is needed: save a "
            "signature of one of them"
        )
    specs = [tensorflow.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in taken.items()]
    names = list(taken)

    def call(*tensors: Any) -> Any:
        (found,) = signature(**dict(zip(names, tensors, strict=True))).values()
        return found

    # The signature lives as long as what it was loaded from.
    call.loaded = loaded  # type: ignore[attr-defined]
    return TensorflowModel(call, specs)


def _known(specs: Sequence[Any]) -> Known:
    for spec in specs:
        if spec.dtype != tensorflow.float32:
            raise ExportError(
                f"its input {spec.name!r} is {spec.dtype.name}, and float32 is needed: save it with float32 inputs"
            )
    if len(specs) == 1:
        shape = specs[0].shape.as_list() if specs[0].shape.rank is not None else []
        takes: Takes = "matrix" if len(shape) == 2 else "tensor"
        return Known(takes, width=shape[1] if takes == "matrix" else None)
    if all(spec.shape.rank == 2 and spec.shape[1] == 1 for spec in specs):
        return Known("columns", tuple(spec.name for spec in specs), width=len(specs))
    shown = ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in specs)
    raise ExportError(f"it takes {shown}, and one tensor or one (rows, 1) input a column is needed")


def _rename_input(graph: onnx.GraphProto, entry: onnx.ValueInfoProto, name: str) -> None:
    if entry.name == name:
        return
    for node in graph.node:
        node.input[:] = [name if given == entry.name else given for given in node.input]
    for output in graph.output:
        if output.name == entry.name:
            raise ExportError("it gives back what it is given")
    entry.name = name
