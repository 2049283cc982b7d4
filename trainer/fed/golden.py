"""Rows on which a graph with windows, images or state proves itself: here against its maker's, on devices as golden."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from protocols.feeding import Feeding, Image
from protocols.images import read_pixels, to_tensor
from trainer.fed.inputs import FedInputs
from trainer.fed.runs import FedCase, FedSession
from trainer.fed.samples import FedSample, golden_file
from trainer.graphs import followed_output

Array = np.ndarray[Any, Any]

#: What golden inputs may weigh before they are compressed, and how many rows of them there are.
GOLDEN_BYTES, MOST_GOLDEN, FEWEST_GOLDEN = 3 * 1024 * 1024, 32, 3
#: Images that carry their file with them, so that a device proves its decoder too.
FILES = 4


def make_cases(inputs: FedInputs, sample: FedSample, feeding: Feeding | None) -> tuple[FedCase, ...]:
    """Return the cases of a proof: the sample, and what lies at its edges; without state, missing values too."""
    cases = [FedCase("held-out", sample.rows)]
    if isinstance(feeding, Image):
        return (*cases, FedCase("edges", (_made_up(feeding),)))
    few = tuple(array[:24] for array in sample.rows)
    cases.append(FedCase("edges", tuple(_clipped(array) for array in few)))
    if not inputs.state:
        holes = few[0].copy()
        holes[:, -1, :] = np.nan
        cases.append(FedCase("missing", (holes, *few[1:])))
    return tuple(cases)


def golden_bytes(session: FedSession, inputs: FedInputs, sample: FedSample, feeding: Feeding | None) -> bytes:
    """Return `golden.npz`: input_0 ..., output_0 ..., the first state as state_0 ..., images' files as picture_0 ...

    Args:
        session: the release's graph, opened; its outputs are what is expected.
    """
    arrays: dict[str, Array] = {}
    rows: tuple[Array, ...]
    if isinstance(feeding, Image):
        files = [golden_file(sample.files[place], feeding) for place in _spread(len(sample.files), FILES)]
        tensors = to_tensor(np.stack([read_pixels(data, feeding) for data in files]), feeding)
        rows = (np.concatenate([tensors, _made_up(feeding)[-2:]]),)
        arrays |= {f"picture_{index}": np.frombuffer(data, dtype=np.uint8) for index, data in enumerate(files)}
    else:
        rows = _picked(inputs, sample.rows)
    outputs = session.run(None, dict(zip(inputs.names, rows, strict=True)))
    if not inputs.state:
        # NaN equals nothing, so a row that a foreign model answers with NaN proves nothing on a device.
        told = np.isfinite(followed_output(outputs).reshape(len(rows[0]), -1)).all(axis=1)
        rows, outputs = tuple(array[told] for array in rows), [output[told] for output in outputs]
    arrays |= {f"input_{index}": array for index, array in enumerate(rows)}
    arrays |= {f"output_{index}": _plain(output) for index, output in enumerate(outputs)}
    arrays |= {f"state_{index}": np.zeros(pair.shape, np.float32) for index, pair in enumerate(inputs.state)}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _picked(inputs: FedInputs, rows: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return some rows: with state the first ones, since they follow one another, else some from everywhere."""
    row_bytes = sum(array[:1].nbytes for array in rows)
    most = min(len(rows[0]), MOST_GOLDEN, max(FEWEST_GOLDEN, GOLDEN_BYTES // row_bytes))
    if inputs.state:
        return tuple(array[:most] for array in rows)
    return tuple(array[_spread(len(array), most)] for array in rows)


def _spread(count: int, most: int) -> Sequence[int]:
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def _made_up(image: Image) -> Array:
    """White, black and noise, as a graph takes them."""
    shape = (image.height, image.width, image.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = np.stack([np.full(shape, 255, dtype=np.uint8), np.zeros(shape, dtype=np.uint8), noise])
    return to_tensor(pixels, image)


def _clipped(array: Array) -> Array:
    """Return rows at the lowest and the highest values of each column, by turns."""
    flat = array.reshape(-1, array.shape[-1])
    edges = np.stack([np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)])
    return np.ascontiguousarray(np.broadcast_to(edges[np.arange(len(array)) % 2].reshape(
        len(array), *([1] * (array.ndim - 2)), array.shape[-1]), array.shape))  # fmt: skip


def _plain(values: Array) -> Array:
    """Objects would need a pickle, and a pickle is code."""
    return values.astype(np.str_) if values.dtype == object else values
