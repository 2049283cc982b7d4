"""What reads a stream's messages for a release: rows, windows of rows or images, as its manifest says."""

from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.feeding import ROWS_ONE_BY_ONE, StateCarrier, WindowReader
from edge_agent.rows import Key, RowReader, Rows
from protocols.assignment import StreamBinding
from protocols.feeding import Image, Window
from protocols.manifest import Manifest


class Reader(Protocol):
    """Messages of one stream to what one release's graph takes. For one thread at a time.

    Attributes:
        quick: reading takes microseconds, so that the link's thread may do it.
        most_rows: messages that it takes at once.
        payload_limit_bytes: a larger message is refused unread.
        held, needed: rows that its window has, and must have before the first answer; 0 where it has no window.
    """

    quick: bool
    most_rows: int
    payload_limit_bytes: int
    held: int
    needed: int

    def read(self, payloads: Sequence[bytes], alive: Callable[[], None] = ...) -> Rows:
        """Return what can be served, and why the rest cannot; `alive` is told of each step that takes a while."""

    def key_of(self, payload: bytes) -> Key:
        """Return the key of a message that is not read further."""

    def begin_anew(self) -> None:
        """Forget what was kept from earlier messages."""


def make_reader(manifest: Manifest, binding: StreamBinding) -> Reader:
    """Return what reads a stream's messages for a release."""
    reader: Reader
    if isinstance(manifest.feeding, Image):
        from edge_agent.image_reader import ImageReader  # only where there is a camera

        reader = ImageReader(manifest.feeding, binding)
    elif isinstance(manifest.feeding, Window):
        reader = WindowReader(manifest.inputs, manifest.feeding, binding)
    else:
        reader = RowReader(manifest.inputs, binding)
    if manifest.state or (manifest.feeding is not None and manifest.feeding.batch == 1):
        reader.most_rows = min(reader.most_rows, ROWS_ONE_BY_ONE)
    return reader


def make_carrier(manifest: Manifest) -> StateCarrier | None:
    """Return what carries a release's state on a stream; None where it has none."""
    return StateCarrier(manifest.state) if manifest.state else None
