"""Golden vectors of models that take windows, images or state: run as they are served, pictures decoded again."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edge_agent.errors import ReleaseRefusedError
from edge_agent.golden import GoldenVectors
from edge_agent.inference import Array, Model
from edge_agent.readers import make_carrier
from protocols.errors import ImageRefusedError
from protocols.feeding import Image
from protocols.images import figures, read_pixels, to_tensor
from protocols.manifest import Manifest

#: How far a picture decoded here may lie from the same one decoded by the publisher, in grey levels: decoders of JPEG
#: round in different ways, in single pixels by more than in the mean.
MEAN_LEVELS, MOST_LEVELS = 1.0, 32.0


def make_runner(model: Model) -> Callable[[Sequence[Array]], list[Array]]:
    """Return what runs rows as the daemon does: from the first state on, each in the state that the last one left."""
    carrier = make_carrier(model.manifest)
    if carrier is None:
        return model.run
    return lambda columns: carrier.run(model, columns)


def single_rows(manifest: Manifest, golden: GoldenVectors) -> Iterator[Callable[[], list[Array]]]:
    """Return for ever one row after the other, as functions that do what the daemon does before it runs the model."""
    feeding = manifest.feeding
    if isinstance(feeding, Image) and golden.pictures:
        return itertools.cycle([_Decoding(data, feeding) for data in golden.pictures])
    return itertools.cycle([_Slicing(golden.inputs, row) for row in range(len(golden.inputs[0]))])


class _Slicing:
    def __init__(self, columns: list[Array], row: int) -> None:
        self._row = [column[row : row + 1] for column in columns]

    def __call__(self) -> list[Array]:
        return self._row


class _Decoding:
    def __init__(self, data: bytes, image: Image) -> None:
        self._data, self._image = data, image

    def __call__(self) -> list[Array]:
        pixels = read_pixels(self._data, self._image)
        figures(pixels, self._image)
        return [to_tensor(pixels, self._image)[None]]


def check_pictures(manifest: Manifest, golden: GoldenVectors) -> None:
    """Decode the golden pictures and compare them with what the publisher's decoder made of them.

    Raises:
        ReleaseRefusedError: they cannot be decoded here, or come out otherwise.
    """
    image = manifest.feeding
    if not isinstance(image, Image):
        return
    level = image.scale / min(image.deviation, default=1.0)
    for row, data in enumerate(golden.pictures):
        try:
            found = to_tensor(read_pixels(data, image), image)
        except (ImageRefusedError, ModuleNotFoundError) as error:
            raise ReleaseRefusedError(f"golden vectors: picture {row} cannot be decoded here: {error}") from error
        away = np.abs(found - golden.inputs[0][row]) / level
        mean, most = float(away.mean()), float(away.max(initial=0.0))
        if not (mean <= MEAN_LEVELS and most <= MOST_LEVELS):
            raise ReleaseRefusedError(
                f"golden vectors: picture {row} comes out {mean:.2g} grey levels away in the mean, {most:.2g} at most; "
                f"{MEAN_LEVELS:g} and {MOST_LEVELS:g} are allowed"
            )
