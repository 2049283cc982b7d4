"""Datasets: tables that models are trained on, kept as blobs by digest."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from registry.blobs import Blobs
from registry.catalogue._sqlite import Connections
from registry.errors import UnknownDatasetError


class Dataset(msgspec.Struct, frozen=True):
    """One table. The same bytes under another name are the same dataset."""

    sha256: str
    name: str
    size_bytes: int
    added_at: float


class Datasets:
    """The datasets."""

    def __init__(self, connections: Connections, clock: Callable[[], float], blobs: Blobs) -> None:
        self._connections = connections
        self._clock = clock
        self._blobs = blobs

    def add(self, name: str, data: bytes | Path | IO[bytes], *, limit_bytes: int | None = None) -> str:
        """Keep a table and return its SHA-256, hex.

        Raises:
            TooLargeError: it has more than `limit_bytes`.
        """
        if isinstance(data, Path):
            with data.open("rb") as file:
                return self.add(name, file, limit_bytes=limit_bytes)
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        sha256 = self._blobs.put(stream, limit_bytes=limit_bytes)
        with self._connections.transaction() as db:
            db.execute(
                "INSERT INTO datasets (sha256, name, size_bytes, added_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (sha256) DO UPDATE SET name = excluded.name",
                (sha256, name, self._blobs.path(sha256).stat().st_size, self._clock()),
            )
        return sha256

    def get(self, sha256: str) -> Path:
        """Return where a dataset's bytes lie.

        Raises:
            UnknownDatasetError: the registry does not hold it.
        """
        self.describe(sha256)
        return self._blobs.path(sha256)

    def describe(self, sha256: str) -> Dataset:
        """Return what is known of a dataset.

        Raises:
            UnknownDatasetError: the registry does not hold it.
        """
        row = self._connections.row("SELECT * FROM datasets WHERE sha256 = ?", (sha256,))
        if row is None:
            raise UnknownDatasetError(sha256)
        return msgspec.convert(row, Dataset)

    def list(self) -> list[Dataset]:
        rows = self._connections.rows("SELECT * FROM datasets ORDER BY added_at DESC")
        return [msgspec.convert(row, Dataset) for row in rows]
