"""Files of a folder to what an image model takes, several at once."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from devices.cgroups import read_limits
from devices.probe import usable_cores
from edge_agent.feeding import BATCH_BYTES
from protocols.errors import ImageRefusedError
from protocols.feeding import FIGURES, Image
from protocols.images import IMAGE_LIMIT_BYTES, figures, read_pixels, to_tensor

Array = np.ndarray[Any, Any]
_MOST_ROWS = 256
_MOST_WORKERS = 4


class Pictures(NamedTuple):
    """The tensor of the images that could be read, their figures, a column each, and by place why the others not."""

    tensor: Array
    figures: list[Array]
    bad: dict[int, str]


class PictureReader:
    """Reads images for one model."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._workers = ThreadPoolExecutor(min(_MOST_WORKERS, usable_cores(read_limits())), "score-picture")
        self.most_rows = max(1, min(_MOST_ROWS, BATCH_BYTES // (4 * math.prod(image.shape))))

    def read(self, files: Sequence[bytes]) -> Pictures:
        """Return the images of these files, in their order."""
        tensors: list[Array] = []
        numbers: list[tuple[float, float, float]] = []
        bad: dict[int, str] = {}
        for place, found in enumerate(self._workers.map(self._one, files)):
            if isinstance(found, str):
                bad[place] = found
            else:
                tensors.append(found[0])
                numbers.append(found[1])
        followed = np.array(numbers, dtype=np.float32).reshape(-1, len(FIGURES))
        columns = [followed[:, index : index + 1] for index in range(len(FIGURES))]
        none: Array = np.empty((0, *self._image.shape), dtype=np.float32)
        return Pictures(np.stack(tensors) if tensors else none, columns, bad)

    def _one(self, file: bytes) -> tuple[Array, tuple[float, float, float]] | str:
        try:
            with Path(os.fsdecode(file)).open("rb") as opened:
                data = opened.read(IMAGE_LIMIT_BYTES + 1)
            pixels = read_pixels(data, self._image)
        except OSError as error:
            return f"it cannot be read: {error.strerror or error}"
        except ImageRefusedError as error:
            return error.text
        return to_tensor(pixels, self._image), figures(pixels, self._image)
