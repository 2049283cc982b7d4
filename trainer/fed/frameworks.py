"""Networks of Keras and PyTorch that take windows or images: converted, and beside it the original as a session."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from trainer.errors import ImportRefusedError
from trainer.fed.inputs import FedInputs
from trainer.fed.runs import BATCH, FedSession, maker_session
from trainer.fed.samples import read_rows
from trainer.foreign.code_inside import refuse_code
from trainer.foreign.kinds import NETWORKS, Found
from trainer.foreign.mlflow_folders import read_mlflow
from trainer.foreign.nan_guard import missing_rail, settle_missing, without_holes
from trainer.foreign.onnx_files import load_graph
from trainer.foreign.original import Original
from trainer.foreign.reading import framework_options
from trainer.guardrails.rail import Guardrail
from trainer.import_request import ImportRequest

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """A maker's graph, and the network in its framework where it is not ONNX itself.

    Attributes:
        undefined: the graph answers NaN to missing values, and the original whatever its kernels make of them.
    """

    model: onnx.ModelProto
    original: Original | None
    name: str
    undefined: bool = False

    @property
    def rails(self) -> tuple[Guardrail, ...]:
        return () if self.original is None else (missing_rail(self.undefined),)

    def session(self, inputs: FedInputs) -> FedSession:
        """Return the original, as `FedSession` runs it."""
        if self.original is None:
            return maker_session(self.model, inputs, self.name)
        return FedSession(
            _Framework(self.model, self.original, self.undefined), inputs.names, (), BATCH, inputs.as_made
        )


def read_network(found: Found, request: ImportRequest, stack: ExitStack) -> Network:
    """Read an ONNX file, or convert a network of a framework.

    Args:
        stack: keeps what the original needs until it is closed.

    Raises:
        ImportRefusedError: it is none that takes windows or images, holds code, or cannot be converted.
    """
    if found.kind == "mlflow":
        found = read_mlflow(found.path).found
    if found.kind == "onnx":
        return Network(load_graph(found.path), None, found.path.name)
    if found.kind not in NETWORKS:
        raise ImportRefusedError(
            f"{found.path} is {found.article}: windows, images, state and --classes are of networks (ONNX, Keras, "
            "PyTorch), and this one says itself what it takes"
        )
    refuse_code(found, trusted=request.trusted)
    if request.feeding.state:
        raise ImportRefusedError(f"{found.path} is {found.article}, and --state is of ONNX models: export it to ONNX")
    original = stack.enter_context(Original(found, framework_options(request)))
    example = [_example(found, request)]
    model = original.convert(example)
    if request.feeding.image is not None:  # a picture has no missing pixels
        return Network(model, original, found.path.name)
    model, undefined = settle_missing(model, original, example)
    return Network(model, original, found.path.name, undefined)


def _example(found: Found, request: ImportRequest) -> Array:
    """Return two rows of the shape that the network takes, for a converter that follows them through it."""
    feeding = request.feeding
    if feeding.image is not None:
        size = (feeding.image.height, feeding.image.width)
        channels = 1 if feeding.image.colours == "L" else 3
        last = feeding.layout == "NHWC" or (feeding.layout is None and found.kind in ("keras", "saved-model"))
        return np.zeros((2, *size, channels) if last else (2, channels, *size), dtype=np.float32)
    columns = len(read_rows(request)[0].features)
    if feeding.window is None:
        return np.zeros((2, columns), dtype=np.float32)
    shapes = {"NCT": (2, columns, feeding.window), "TNC": (feeding.window, 2, columns)}
    return np.zeros(shapes.get(feeding.layout or "", (2, feeding.window, columns)), dtype=np.float32)


class _Framework:
    """A network in its framework with the two methods of a session that `FedSession` needs."""

    def __init__(self, model: onnx.ModelProto, original: Original, undefined: bool) -> None:
        self._outputs, self._original = list(model.graph.output), original
        self._undefined = undefined

    def get_outputs(self) -> list[onnx.ValueInfoProto]:
        return self._outputs

    def run(self, outputs: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        arrays = list(feed.values())
        found = self._original.answer(arrays)
        return [without_holes(found, arrays) if self._undefined else found]
