"""What a graph takes that is not fed by rows: the tensor of a window or an image and how it lies, and its state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from protocols.feeding import StatePair
from trainer.errors import ImportRefusedError
from trainer.import_request import FeedingRequest, ImageRequest, Layout

Array = np.ndarray[Any, Any]

#: How (batch, rows, columns) becomes what the graph takes.
PERMUTATIONS: dict[Layout, tuple[int, int, int]] = {"NCT": (0, 2, 1), "TNC": (1, 0, 2)}


@dataclass(frozen=True, slots=True)
class FedInputs:
    """The inputs of a maker's graph.

    Attributes:
        columns: its inputs in the order of the sample, where it takes one a column and state.
        tensor: else the one that the window or image goes into; `rank` and `layout` say how.
    """

    columns: tuple[str, ...]
    tensor: str
    rank: int
    layout: Layout
    state: tuple[StatePair, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What is fed beside the state."""
        return self.columns or (self.tensor,)

    def as_made(self, tensor: Array) -> Array:
        """Return a release's tensor (batch, rows, columns), or an image's, as the maker's graph takes it."""
        if self.layout in PERMUTATIONS:
            return np.ascontiguousarray(tensor.transpose(PERMUTATIONS[self.layout]))
        return tensor.reshape(len(tensor), -1) if self.rank == 2 and not self.columns else tensor


def read_inputs(graph: onnx.GraphProto, request: FeedingRequest, columns: Sequence[str]) -> FedInputs:
    """Return what a graph takes.

    Args:
        columns: of the sample, without the target; of an image model none.

    Raises:
        ImportRefusedError: its inputs or its state are not of a form that a device could feed.
    """
    state = _find_state(graph, request)
    kept = {pair.input for pair in state}
    fed = [entry for entry in inputs_of(graph) if entry.name not in kept]
    floats = all(entry.type.tensor_type.elem_type == TensorProto.FLOAT for entry in fed)
    if state and floats and columns and {entry.name for entry in fed} == set(columns):
        return FedInputs(tuple(columns), "", 2, "NTC", state)
    if len(fed) != 1 or not floats:
        shown = ", ".join(f"{entry.name!r} {_kind(entry)}{dims(entry)}" for entry in fed)
        raise ImportRefusedError(
            f"the model takes {shown or 'nothing'}: export it with one float32 tensor that the window or image goes "
            "into; what it carries from call to call is named by --state IN=OUT"
        )
    return FedInputs((), fed[0].name, len(dims(fed[0])), _read_layout(fed[0], request, len(columns)), state)


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return a graph's inputs, less those that are weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [entry for entry in graph.input if entry.name not in weights]


def dims(entry: onnx.ValueInfoProto) -> list[int | str]:
    """Return the sizes of an input or output; a name or '' where one is free."""
    return [dim.dim_value or dim.dim_param for dim in entry.type.tensor_type.shape.dim]


def _find_state(graph: onnx.GraphProto, request: FeedingRequest) -> tuple[StatePair, ...]:
    """Return the pairs that are asked for, with their shapes; a free dimension is 1."""
    pairs = []
    inputs = {entry.name: entry for entry in inputs_of(graph)}
    outputs = {entry.name: entry for entry in graph.output}
    for taken, given in request.state:
        for side, name, known in (("input", taken, inputs), ("output", given, outputs)):
            if name not in known:
                raise ImportRefusedError(
                    f"--state {taken}={given}: the model has no {side} {name!r}; it has {', '.join(map(repr, known))}"
                )
        if inputs[taken].type.tensor_type.elem_type != TensorProto.FLOAT:
            kind = _kind(inputs[taken])
            raise ImportRefusedError(f"--state {taken}={given}: {taken!r} is {kind}, and state is float32")
        shape = tuple(size if isinstance(size, int) and size > 0 else 1 for size in dims(inputs[taken]))
        pairs.append(StatePair(taken, given, shape))
    return tuple(pairs)


def _read_layout(entry: onnx.ValueInfoProto, request: FeedingRequest, columns: int) -> Layout:
    """Return how the graph's tensor lies: as it was asked for, or as its shape tells."""
    if request.image is not None:
        wanted, fits = _image_layouts(entry, request.image)
    else:
        wanted, fits = _window_layouts(entry, request.window or 1, columns)
    if request.layout is not None and request.layout in fits:
        return request.layout
    if not fits or request.layout is not None:
        how = f" as {request.layout}" if request.layout is not None else ""
        raise ImportRefusedError(
            f"the model's input {entry.name!r} is float{dims(entry)}, and {wanted} does not fit into it{how}: say what "
            "it takes by --window, --image, --colours and --layout; a sample of rows has the model's columns, in their "
            "order, and no others but the --target"
        )
    return fits[0]


def _image_layouts(entry: onnx.ValueInfoProto, image: ImageRequest) -> tuple[str, list[Layout]]:
    channels = 1 if image.colours == "L" else 3
    shapes: dict[Layout, tuple[int, ...]] = {
        "NCHW": (channels, image.height, image.width),
        "NHWC": (image.height, image.width, channels),
    }
    sizes = dims(entry)
    fits: list[Layout] = [layout for layout, shape in shapes.items() if len(sizes) == 4 and _fit(sizes[1:], shape)]
    return f"an image of {image.height} x {image.width} in {image.colours}", fits


def _window_layouts(entry: onnx.ValueInfoProto, rows: int, columns: int) -> tuple[str, list[Layout]]:
    shapes: dict[Layout, tuple[int | None, ...]] = {
        "NTC": (None, rows, columns),
        "TNC": (rows, None, columns),
        "NCT": (None, columns, rows),
    }
    sizes = dims(entry)
    fits: list[Layout] = [layout for layout, shape in shapes.items() if len(sizes) == 3 and _fit(sizes, shape)]
    if len(sizes) == 2 and _fit(sizes, (None, rows * columns)):
        fits = ["NTC"]
    return f"a window of {rows} rows of the sample's {columns} columns", fits


def _fit(sizes: Sequence[int | str], wanted: Sequence[int | None]) -> bool:
    """Whether sizes can be those that are wanted; None is the batch: 1 or free."""
    return all(
        not isinstance(size, int) or size == (1 if want is None else want)
        for size, want in zip(sizes, wanted, strict=True)
    )


def _kind(entry: onnx.ValueInfoProto) -> str:
    return str(TensorProto.DataType.Name(entry.type.tensor_type.elem_type)).lower()
