"""How a release is fed that takes more than one row: a window of rows, an image, state from call to call.

Where a release has none of these, its graph takes one (rows, 1) input a column, and its manifest stays of version 1.
"""

import math
from collections.abc import Collection
from typing import Literal

import msgspec

from protocols.errors import ManifestError

#: What a binding calls the image in a message that is JSON.
IMAGE_INPUT = "image"
#: What monitoring follows of an image, in the place of sensors; `protocols.images` computes them.
FIGURES = ("brightness", "contrast", "sharpness")
#: Values of one window, of one image's tensor, of all state: 64 MiB as float32.
MOST_VALUES = 16 * 1024 * 1024
#: Longest window, and longest side of the image that a graph takes.
MOST_ROWS, MOST_SIDE = 65_536, 8_192

Colours = Literal["RGB", "BGR", "L"]
Layout = Literal["NCHW", "NHWC"]
Resize = Literal["stretch", "fit", "crop"]


class Window(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="window"):
    """The last `rows` rows of the manifest's inputs, oldest first: float32, shape (batch, rows, inputs).

    Missing is NaN. `tensor` is the graph's input; `batch` the most windows that it takes at once, None for any number.
    """

    tensor: str
    rows: int
    batch: int | None = None


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="image"):
    """One JPEG or PNG image: float32, (batch, channels, height, width) or (batch, height, width, channels).

    A pixel p of 0 to 255 becomes (p * scale - mean) / deviation, `mean` and `deviation` by channel in the order of
    `colours` (empty: 0 and 1). `resize` brings it to height and width, bilinear: `stretch` changes its proportions,
    `fit` puts all of it into the middle of black, `crop` takes the largest part from its middle.
    `tensor` is the graph's input; `batch` the most images that it takes at once, None for any number.
    """

    tensor: str
    height: int
    width: int
    colours: Colours = "RGB"
    layout: Layout = "NCHW"
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    resize: Resize = "stretch"
    batch: int | None = None

    @property
    def channels(self) -> int:
        return 1 if self.colours == "L" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, as the graph takes it."""
        if self.layout == "NCHW":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)


class StatePair(msgspec.Struct, frozen=True):
    """An output of the graph that becomes an input of its next call; float32, zero before the first.

    `shape` holds no free dimension: a graph with state serves one row, one window or one image at a time.
    """

    input: str
    output: str
    shape: tuple[int, ...]


Feeding = Window | Image


def check_feeding(feeding: Feeding | None, state: tuple[StatePair, ...], inputs: Collection[tuple[str, str]]) -> None:
    """Check what a manifest says of its feeding.

    Args:
        inputs: name and dtype of each of the manifest's inputs.

    Raises:
        ManifestError: the feeding contradicts itself or the inputs; the text names the field.
    """
    if isinstance(feeding, Window):
        _check_window(feeding, inputs)
    elif feeding is not None:
        _check_image(feeding, inputs)
    _check_state(feeding, state, inputs)


def _check_window(window: Window, inputs: Collection[tuple[str, str]]) -> None:
    text = next((name for name, dtype in inputs if dtype != "float32"), None)
    if text is not None:
        raise ManifestError(f"release.json: a window is of float32 columns, and input {text!r} is none")
    if not 1 <= window.rows <= MOST_ROWS or window.rows * len(inputs) > MOST_VALUES:
        raise ManifestError(
            f"release.json: feeding has {window.rows} rows of {len(inputs)} inputs; 1 to {MOST_ROWS} rows "
            f"and up to {MOST_VALUES} values can be fed"
        )
    _check_batch(window)


def _check_image(image: Image, inputs: Collection[tuple[str, str]]) -> None:
    if tuple(name for name, _ in inputs) != FIGURES or any(dtype != "float32" for _, dtype in inputs):
        raise ManifestError(f"release.json: the inputs of an image model are {', '.join(FIGURES)}, float32")
    if not (1 <= image.height <= MOST_SIDE and 1 <= image.width <= MOST_SIDE) or math.prod(image.shape) > MOST_VALUES:
        raise ManifestError(
            f"release.json: feeding asks for {image.height} x {image.width} pixels; 1 to {MOST_SIDE} a side "
            f"and up to {MOST_VALUES} values can be fed"
        )
    if not (math.isfinite(image.scale) and image.scale > 0):
        raise ManifestError(f"release.json: feeding has the scale {image.scale}; it must be a number above 0")
    for field, values in (("mean", image.mean), ("deviation", image.deviation)):
        if values and len(values) != image.channels:
            raise ManifestError(f"release.json: feeding has {len(values)} {field}s for {image.channels} channels")
        if not all(map(math.isfinite, values)):
            raise ManifestError(f"release.json: feeding has a {field} that is no number")
    if any(value <= 0 for value in image.deviation):
        raise ManifestError("release.json: feeding has a deviation that is not above 0")
    _check_batch(image)


def _check_batch(feeding: Feeding) -> None:
    if not feeding.tensor:
        raise ManifestError("release.json: feeding names no tensor")
    if feeding.batch is not None and feeding.batch < 1:
        raise ManifestError(f"release.json: feeding has the batch {feeding.batch}; it counts from 1")


def _check_state(feeding: Feeding | None, state: tuple[StatePair, ...], inputs: Collection[tuple[str, str]]) -> None:
    fed = [feeding.tensor] if feeding is not None else [name for name, _ in inputs]
    taken = [*fed, *(pair.input for pair in state)]
    given = ["prediction", "probabilities", *(pair.output for pair in state)]
    for side, names in (("input", taken), ("output", given)):
        if state and (len(set(names)) != len(names) or "" in names):
            raise ManifestError(f"release.json: state must name each {side} once; got {names}")
    for pair in state:
        if not pair.shape or any(size < 1 for size in pair.shape):
            raise ManifestError(
                f"release.json: state {pair.input!r} has the shape {list(pair.shape)}; it must be fixed"
            )
    if sum(math.prod(pair.shape) for pair in state) > MOST_VALUES:
        raise ManifestError(f"release.json: state has more than {MOST_VALUES} values")
