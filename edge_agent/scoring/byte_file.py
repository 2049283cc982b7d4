"""A file that grows by bytes, and can be cut back to where it was durable."""

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class ByteFile:
    """Packed, it is one gzip member after another, which together are a gzip file.

    Args:
        place: what `commit` returned; nothing for a new file.
    """

    def __init__(self, path: Path, place: Sequence[int], *, packed: bool) -> None:
        self._file = path.open("r+b" if place else "wb")
        self._file.truncate(place[0] if place else 0)
        self._file.seek(0, os.SEEK_END)
        self._packed = packed
        self._member: gzip.GzipFile | None = None

    def write(self, data: Any) -> None:
        if not self._packed:
            self._file.write(data)
            return
        if self._member is None:
            self._member = gzip.GzipFile(filename="", fileobj=self._file, mode="wb", compresslevel=6, mtime=0)
        self._member.write(data)

    def commit(self) -> list[int]:
        if self._member is not None:
            self._member.close()
            self._member = None
        self._file.flush()
        os.fsync(self._file.fileno())
        return [self._file.tell()]

    def close(self) -> None:
        self._file.close()
