"""Small real ONNX models that take a window, an image or state, and releases made of them, golden vectors included."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from PIL import Image as Pictures
from simulators.small_models import CPU, file_info, write_release

from protocols.feeding import FIGURES, Feeding, Image, StatePair, Window
from protocols.images import read_pixels, to_tensor
from protocols.manifest import Manifest, TensorSpec, encode_manifest
from protocols.reference import ReferenceProfile, encode_reference
from protocols.sketches import NumericSketch

Array = np.ndarray[Any, Any]
FLOAT = TensorProto.FLOAT
COLUMNS = (TensorSpec("AT", "float32", low=0.0, high=40.0), TensorSpec("V", "float32", low=20.0, high=90.0))
PICTURE = tuple(TensorSpec(name, "float32", low=0.0, high=255.0) for name in FIGURES)
NUMBER = (TensorSpec("prediction", "float32"),)
CLASSES = ("dark", "red", "green")
LABELS = (TensorSpec("prediction", "string", (None,)), TensorSpec("probabilities", "float32", (None, 3)))
WINDOW = Window("rows", 4)
IMAGE = Image("pixels", 8, 8, scale=1 / 255)
STATE = (StatePair("before", "after", (1, 1)),)


@dataclass(frozen=True)
class Kind:
    """A model of one kind, what its manifest says of it, and golden rows as its graph takes them."""

    model: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: list[Array]
    feeding: Feeding | None = None
    state: tuple[StatePair, ...] = ()
    pictures: tuple[bytes, ...] = ()


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "kind", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model


def _value(name: str, shape: list[Any], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def windowed(length: int = 4, batch: int | None = None) -> Kind:
    """prediction = the sum of AT over the window + V of its newest row, (batch, length, 2) in."""
    nodes = [
        helper.make_node("Gather", ["rows", "first"], ["at"], axis=2),
        helper.make_node("ReduceSum", ["at", "along"], ["sum"], keepdims=0),
        helper.make_node("Gather", ["rows", "newest"], ["row"], axis=1),
        helper.make_node("Gather", ["row", "second"], ["v"], axis=1),
        helper.make_node("Add", ["sum", "v"], ["flat"]),
        helper.make_node("Reshape", ["flat", "column"], ["prediction"]),
    ]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
        helper.make_tensor("along", TensorProto.INT64, [1], [1]),
        helper.make_tensor("newest", TensorProto.INT64, [], [length - 1]),
        helper.make_tensor("second", TensorProto.INT64, [], [1]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
    ]
    model = _model(nodes, [_value("rows", [batch, length, 2])], [_value("prediction", [batch, 1])], constants)
    golden = np.random.default_rng(3).uniform(0, 40, (6, length, 2)).astype(np.float32)
    return Kind(model, COLUMNS, NUMBER, [golden], Window("rows", length, batch))


def stateful() -> Kind:
    """after = before + log(AT); prediction = after + V. NaN for AT below zero."""
    nodes = [
        helper.make_node("Log", ["AT"], ["log"]),
        helper.make_node("Add", ["before", "log"], ["after"]),
        helper.make_node("Add", ["after", "V"], ["prediction"]),
    ]
    inputs = [_value("AT", [1, 1]), _value("V", [1, 1]), _value("before", [1, 1])]
    model = _model(nodes, inputs, [_value("prediction", [1, 1]), _value("after", [1, 1])], [])
    random = np.random.default_rng(4)
    return Kind(
        model, COLUMNS, NUMBER, [random.uniform(1, 40, (9, 1)).astype(np.float32) for _ in COLUMNS], state=STATE
    )


def recurrent_window(length: int = 3) -> Kind:
    """after = before + the sum of AT over the window = prediction: both kinds at once."""
    nodes = [
        helper.make_node("Gather", ["rows", "first"], ["at"], axis=2),
        helper.make_node("ReduceSum", ["at", "along"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "column"], ["now"]),
        helper.make_node("Add", ["before", "now"], ["after"]),
        helper.make_node("Identity", ["after"], ["prediction"]),
    ]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
        helper.make_tensor("along", TensorProto.INT64, [1], [1]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
    ]
    inputs = [_value("rows", [1, length, 2]), _value("before", [1, 1])]
    model = _model(nodes, inputs, [_value("prediction", [1, 1]), _value("after", [1, 1])], constants)
    golden = np.random.default_rng(5).uniform(0, 40, (4, length, 2)).astype(np.float32)
    return Kind(model, COLUMNS, NUMBER, [golden], Window("rows", length), STATE)


def pictured(batch: int | None = None) -> Kind:
    """`red` or `green` where a channel is bright, else `dark`; (batch, 3, 8, 8) in."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["best"], ["prediction"], domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2], values_strings=list(CLASSES),
        ),
    ]  # fmt: skip
    constants = [
        helper.make_tensor("weights", FLOAT, [3, 3], [0.0, 9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]),
        helper.make_tensor("bias", FLOAT, [3], [2.0, 0.0, 0.0]),
    ]
    outputs = [_value("prediction", [batch], TensorProto.STRING), _value("probabilities", [batch, 3])]
    model = _model(nodes, [_value("pixels", [batch, 3, 8, 8])], outputs, constants)
    image = msgspec.structs.replace(IMAGE, batch=batch)
    pictures = (picture((255, 0, 0)), picture((0, 255, 0), "JPEG", (40, 30)), picture((0, 0, 0)))
    golden = np.stack([to_tensor(read_pixels(data, image), image) for data in pictures])
    return Kind(model, PICTURE, LABELS, [golden], image, pictures=pictures)


def picture(colour: tuple[int, int, int], form: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    """Return the file of a picture in one colour."""
    file = io.BytesIO()
    Pictures.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def write_kind(
    folder: Path,
    kind: Kind,
    *,
    name: str = "ccpp",
    version: int = 1,
    spoil: Callable[[dict[str, Array]], None] | None = None,
    **changes: Any,
) -> Manifest:
    """Write a whole release folder; `spoil` changes the arrays of its golden vectors, `changes` the manifest."""
    plain = write_release(folder, name=name, version=version)
    (folder / "model.onnx").write_bytes(kind.model.SerializeToString())
    manifest = msgspec.structs.replace(
        plain, inputs=kind.inputs, outputs=kind.outputs, feeding=kind.feeding, state=kind.state, v=2,
        task="classification" if len(kind.outputs) > 1 else "regression",
        classes=CLASSES if len(kind.outputs) > 1 else (),
    )  # fmt: skip
    arrays = _golden(kind, manifest)
    if spoil:
        spoil(arrays)
    np.savez(folder / "golden.npz", **arrays)
    numeric = {spec.name: NumericSketch().summary() for spec in kind.inputs}
    outputs = [f"probability_{label}" for label in manifest.classes] or ["prediction"]
    sketches = {output: NumericSketch().summary() for output in outputs}
    (folder / "reference").write_bytes(encode_reference(ReferenceProfile(0, numeric, {}, sketches)))
    files = {file: file_info(folder / file) for file in ("model.onnx", "golden.npz", "reference")}
    manifest = msgspec.structs.replace(manifest, files=files, **changes)
    (folder / "release.json").write_bytes(encode_manifest(manifest))
    return manifest


def _golden(kind: Kind, manifest: Manifest) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(kind.model.SerializeToString(), providers=[CPU])
    names = [spec.name for spec in manifest.graph_inputs]
    asked = [spec.name for spec in manifest.graph_outputs]
    state, answers = [np.zeros(pair.shape, np.float32) for pair in kind.state], []
    for row in range(len(kind.golden[0])):
        fed = [*(column[row : row + 1] for column in kind.golden), *state]
        outputs = session.run(asked, dict(zip(names, fed, strict=True)))
        state = outputs[len(kind.outputs) :]
        answers.append(outputs[: len(kind.outputs)])
    arrays = {f"input_{index}": column for index, column in enumerate(kind.golden)}
    for index, parts in enumerate(zip(*answers, strict=True)):
        output = np.concatenate(parts)
        arrays[f"output_{index}"] = output.astype(str) if output.dtype == object else output
    arrays |= {f"picture_{index}": np.frombuffer(data, np.uint8) for index, data in enumerate(kind.pictures)}
    return arrays
