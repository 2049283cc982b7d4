"""Images in sensor messages: the message itself, or base64 at a path of a JSON object, to what the graph takes."""

import base64
import math
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from edge_agent.columns import Array
from edge_agent.feeding import BATCH_BYTES
from edge_agent.rejections import PAYLOAD_LIMIT_BYTES, Rejection
from edge_agent.rows import Key, Rows, as_key, show_path
from protocols.assignment import StreamBinding
from protocols.errors import ImageRefusedError
from protocols.feeding import FIGURES, IMAGE_INPUT, Image
from protocols.images import IMAGE_LIMIT_BYTES, figures, read_pixels, to_tensor
from protocols.payloads import ABSENT, Path, begins, extract, parse_path

#: Images of a batch at most: the largest that is decoded takes a second and more on a board.
MOST_IMAGES = 16


class ImageReader:
    """Reads the images of one stream for one model.

    Where the binding names a path for `image`, a message is a JSON object with the file as base64 there (a `data:`
    URL will do); else the message is the file.
    """

    #: Decoding takes longer than the link's thread has.
    quick = False
    held = needed = 0

    def __init__(self, image: Image, binding: StreamBinding, ticks: Callable[[], float] = time.perf_counter) -> None:
        self._image, self._ticks = image, ticks
        path = binding.inputs.get(IMAGE_INPUT)
        self._path = parse_path(path) if path else None
        self._key = parse_path(binding.key) if binding.key and path else None
        self.payload_limit_bytes = (
            IMAGE_LIMIT_BYTES if path is None else IMAGE_LIMIT_BYTES * 4 // 3 + PAYLOAD_LIMIT_BYTES
        )
        self.most_rows = max(1, min(binding.max_batch, MOST_IMAGES, BATCH_BYTES // (4 * math.prod(image.shape))))

    def begin_anew(self) -> None:
        """Nothing is kept from one image to the next."""

    def read(self, payloads: Sequence[bytes], alive: Callable[[], None] = lambda: None) -> Rows:
        """Return the tensor (images, ...) of what can be served, and why the rest cannot; the numbers are figures."""
        tensors: list[Array] = []
        numbers: list[tuple[float, float, float]] = []
        keys: list[Key] = []
        accepted: list[int] = []
        rejected: list[tuple[int, Rejection]] = []
        began = self._ticks()
        for index, payload in enumerate(payloads):
            alive()
            found = self._read_one(payload)
            if isinstance(found, Rejection):
                rejected.append((index, found))
                continue
            pixels, key = found
            tensors.append(to_tensor(pixels, self._image))
            numbers.append(figures(pixels, self._image))
            keys.append(key)
            accepted.append(index)
        made = [np.stack(tensors)] if tensors else []
        followed = np.array(numbers, dtype=np.float32).reshape(-1, len(FIGURES)).T
        return Rows(made, keys, accepted, rejected, followed, reading_s=self._ticks() - began)

    def key_of(self, payload: bytes) -> Key:
        """Return the key of a message that is not read further; None where it has none."""
        if self._key is None:
            return None
        try:
            return as_key(extract(msgspec.json.decode(payload), self._key))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _read_one(self, payload: bytes) -> tuple[Array, Key] | Rejection:
        """Return the image's pixels and the message's key."""
        key: Key = None
        if self._path is not None:
            found = self._from_json(payload, self._path)
            if isinstance(found, Rejection):
                return found
            payload, key = found
        try:
            return read_pixels(payload, self._image), key
        except ImageRefusedError as error:
            return Rejection(error.reason, error.text)

    def _from_json(self, payload: bytes, path: Path) -> tuple[bytes, Key] | Rejection:
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Rejection("not-json", f"{error}; {begins(payload, 16)}")
        text = extract(document, path)
        if text is ABSENT:
            return Rejection("missing-feature", f"{IMAGE_INPUT}: nothing at {show_path(path)}")
        if not isinstance(text, str):
            return Rejection("wrong-type", f"{IMAGE_INPUT}: no text at {show_path(path)}, expected base64")
        try:
            data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
        except ValueError as error:
            return Rejection("wrong-type", f"{IMAGE_INPUT}: no base64 at {show_path(path)} ({error})")
        return data, as_key(extract(document, self._key)) if self._key is not None else None
