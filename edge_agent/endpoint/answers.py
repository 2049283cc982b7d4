"""A model's outputs to the response that carries them, in JSON or in binary as the request asks."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edge_agent.endpoint.exchange import Response
from edge_agent.endpoint.intake import DATATYPE_OF, called_inputs
from edge_agent.endpoint.tensors import Asking, datatype_of, shape_text, to_binary
from edge_agent.errors import CallRefusedError
from protocols.manifest import Manifest, TensorSpec
from protocols.names import ReleaseRef

Array = np.ndarray[Any, Any]

_encode = msgspec.json.Encoder().encode
BINARY = "application/octet-stream"
#: Of an answer; each takes some ten times more memory than in binary.
JSON_VALUES = 1 << 20


def called_outputs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """Return what a call gives: the graph's outputs, of any number of rows but where the model has state."""
    if manifest.feeding is None or manifest.state:
        return manifest.graph_outputs
    return tuple(msgspec.structs.replace(spec, shape=(None, *spec.shape[1:])) for spec in manifest.graph_outputs)


def wanted_outputs(specs: Sequence[TensorSpec], call: Asking) -> list[tuple[int, bool]]:
    """Return each output that the request asks for: its place among the model's, and whether it goes in binary.

    Raises:
        CallRefusedError: the model has no such output.
    """
    in_binary = call.parameters.get("binary_data_output") is True
    if not call.outputs:
        return [(place, in_binary) for place in range(len(specs))]
    places = {spec.name: place for place, spec in enumerate(specs)}
    wanted = []
    for asked in call.outputs:
        if asked.name not in places:
            raise CallRefusedError(400, f"{asked.name[:100]!r} is no output of the model; it has {', '.join(places)}")
        if "shared_memory_region" in asked.parameters:
            raise CallRefusedError(400, f"{asked.name}: shared memory is not offered; take the values")
        wanted.append((places[asked.name], asked.parameters.get("binary_data", in_binary) is True))
    return wanted


def answer(
    ref: ReleaseRef,
    specs: Sequence[TensorSpec],
    call: Asking,
    outputs: Sequence[Array],
    wanted: Sequence[tuple[int, bool]],
) -> Response:
    """Return the response; it names the release that made it. In JSON, what is no number (NaN) is null.

    Raises:
        CallRefusedError: it would have more values in JSON than are allowed.
    """
    values = sum(outputs[place].size for place, in_binary in wanted if not in_binary)
    if values > JSON_VALUES:
        allowed = f"the answer has {values} values in JSON, and {JSON_VALUES} are allowed"
        raise CallRefusedError(413, f"{allowed}; ask for them in binary (binary_data_output), or fewer rows at once")
    told: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for place, in_binary in wanted:
        array = outputs[place]
        one = {"name": specs[place].name, "datatype": datatype_of(array), "shape": array.shape}
        if in_binary:
            parts.append(to_binary(array))
            one["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            one["data"] = array.ravel().tolist()
        told.append(one)
    document = {"model_name": ref.model, "model_version": str(ref.version), "outputs": told}
    if call.id is not None:
        document["id"] = call.id
    body = _encode(document)
    if not parts:
        return Response(body)
    return Response(b"".join([body, *parts]), content_type=BINARY, json_bytes=len(body))


def metadata(manifest: Manifest) -> Response:
    """Return what the model takes and gives."""
    return Response(
        _encode(
            {
                "name": manifest.model,
                "versions": [str(manifest.version)],
                "platform": "onnxruntime_onnx",
                "inputs": [_described(spec) for spec in called_inputs(manifest)],
                "outputs": [_described(spec) for spec in called_outputs(manifest)],
            }
        )
    )


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": DATATYPE_OF[spec.dtype], "shape": shape_text(spec.shape)}
