"""A folder of images as a table: one row a file, in the order of their names, folders below it included."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from edge_agent.errors import ScoreError
from edge_agent.scoring.sources import Batch, Notation

SUFFIXES = (".jpg", ".jpeg", ".png")
#: The column that names the file, from the folder on; and the one that says where it is, which is not copied.
FILE, PATH = "file", "path"


class ImageFolder:
    """Its one column is `file`. Files of other suffixes are not looked at."""

    notation: Notation = "typed"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = [FILE]
        self.rows: int | None = sum(1 for _ in image_files(folder))
        if not self.rows:
            raise ScoreError(f"{folder} holds no image ({', '.join(SUFFIXES)}), and no folder below it does")
        self._read = 0

    def types(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in columns])

    def share_read(self) -> float:
        return self._read / self.rows if self.rows else 1.0

    def batches(self, columns: Sequence[str], *, done: int, most: int) -> Iterator[Batch]:
        files = islice(image_files(self._folder), done, None)
        first = done
        while chunk := list(islice(files, most)):
            places = pa.array([os.fsencode(self._folder / file) for file in chunk], pa.binary())
            shown = pa.array([os.fsencode(file).decode(errors="replace") for file in chunk])
            yield Batch(first, pa.table({PATH: places, FILE: shown}))
            first += len(chunk)
            self._read = first


def image_files(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's images from the folder on, in order."""
    for place, below, files in os.walk(folder):
        below.sort()
        inside = os.path.relpath(place, folder)
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES):
                yield name if inside == "." else f"{inside}/{name}"
