"""A graph alone, as the release that a device could examine: its inputs and outputs as the file itself tells them.

Enough to load it, run its golden vectors and time it. It has no lineage, no proof and no version: it is no candidate.

Source: onnx/onnx.proto.
"""

from collections.abc import Iterator, Mapping

import msgspec

from protocols.errors import OnnxRefusedError
from protocols.manifest import (
    Dtype,
    FileInfo,
    Footprint,
    Lineage,
    Manifest,
    ParityCertificate,
    TensorSpec,
    Tolerance,
)
from protocols.onnx_file import check_onnx, read_onnx
from protocols.onnx_wire import fields, signed

#: How far outputs may lie from the golden ones where nothing says otherwise: what float32 leaves of most graphs.
PLAIN_TOLERANCE = Tolerance(absolute=1e-4, relative=1e-4)
_CPU = "CPUExecutionProvider"
_DTYPES: dict[int, Dtype] = {1: "float32", 7: "int64", 8: "string"}
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12


def graph_signature(graph: bytes) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return a graph's inputs and outputs in the order of the file; weights that are listed as inputs are none.

    Raises:
        OnnxRefusedError: it is no ONNX model, or one of them is no tensor of float32, int64 or text.
    """
    inner = next(_messages(memoryview(graph), _GRAPH), memoryview(b""))
    weights = {_text(tensor, 8) for tensor in _messages(inner, _INITIALIZER)}
    inputs = tuple(spec for spec in map(_spec, _messages(inner, _INPUT)) if spec.name not in weights)
    return inputs, tuple(map(_spec, _messages(inner, _OUTPUT)))


def plain_manifest(
    graph: bytes,
    files: Mapping[str, FileInfo],
    *,
    model: str = "measured",
    tolerance: Tolerance = PLAIN_TOLERANCE,
) -> Manifest:
    """Return a manifest of a graph that takes one row at a time, one input a column.

    Args:
        files: model.onnx and golden.npz, whose input_0 ... are in the order of the graph's inputs.
        tolerance: how far outputs may lie from the golden ones, on any provider.

    Raises:
        OnnxRefusedError: no device could run it, or it does not take rows column by column.
    """
    found = read_onnx(graph)
    check_onnx(found)
    inputs, outputs = graph_signature(graph)
    for spec in inputs:
        if len(spec.shape) != 2 or spec.shape[1] not in (1, None):
            shape = " x ".join("?" if size is None else str(size) for size in spec.shape)
            raise OnnxRefusedError(
                f"its input {spec.name!r} has the shape {shape}, and one column has ? x 1: a graph that takes windows, "
                "images or a whole row at once needs its release.json beside it"
            )
    return Manifest(
        model=model,
        task="regression",
        target="output",
        created="",
        files=dict(files),
        inputs=inputs,
        outputs=outputs,
        opset={"" if domain == "ai.onnx" else domain: version for domain, version in found.opsets.items()},
        operators=found.operators,
        providers={_CPU: tolerance},
        elsewhere=tolerance,
        footprint=Footprint(0, 0.0, 0.0, ""),
        lineage=Lineage("", "", 0, (), "output", "", {}, 0, 0.0, 0, {}),
        parity=ParityCertificate(tolerance, (), ""),
        metric="",
        metrics={},
    )


def measured_manifest(manifest: Manifest, files: Mapping[str, FileInfo]) -> Manifest:
    """Return a candidate's manifest for its graph alone: no variants, no promise of latency, for any hardware."""
    return msgspec.structs.replace(
        manifest,
        files=dict(files),
        version=0,
        variants={},
        profiles=(),
        latency_limit_ms=None,
        v=2 if manifest.fed else 1,
    )


def _spec(value: memoryview) -> TensorSpec:
    name = _text(value, 1)
    tensor = next((found for kind in _messages(value, 2) for found in _messages(kind, 1)), None)
    if tensor is None:
        raise OnnxRefusedError(f"its {name!r} is no tensor; export it with tensors alone (without ZipMap)")
    kind = next((number for field, number in fields(tensor) if field == 1 and isinstance(number, int)), 0)
    if kind not in _DTYPES:
        raise OnnxRefusedError(f"its {name!r} has elements of type {kind}; a device gives float32, int64 and text")
    shape = tuple(_size(dim) for dims in _messages(tensor, 2) for dim in _messages(dims, 1))
    return TensorSpec(name, _DTYPES[kind], shape)


def _size(dim: memoryview) -> int | None:
    return next((signed(value) for number, value in fields(dim) if number == 1 and isinstance(value, int)), None)


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, value in fields(message) if number == wanted and not isinstance(value, int))


def _text(message: memoryview, wanted: int) -> str:
    return next((bytes(value).decode(errors="replace") for value in _messages(message, wanted)), "")
