"""Where python-tuf gets its bytes: MQTT or HTTP, or a directory (a stick). All are `Fetcher`s."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from edge_agent.errors import ResourceFinalError, TransferError
from protocols.resources import parse_resource


class Downloads(Protocol):
    """What brings resources to this disk, over whatever link, and goes on where it was cut off."""

    def fetch(self, resource: str, limit_bytes: int) -> Path: ...

    def forget(self, resource: str) -> None: ...


class OwnedReader(io.BufferedReader):
    """A file whose reader may move it away: it is of no use to anybody else."""


class ResumingFetcher:
    """Fetches resources by a client that resumes. What was cut off stays; what was read to its end is forgotten."""

    def __init__(self, client: Downloads) -> None:
        self._client = client

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the resource as a file of at most `max_length` bytes; no copy of it is made elsewhere.

        Raises:
            DownloadHTTPError: the registry does not have it.
            DownloadError: it did not arrive.
        """
        try:
            path = self._client.fetch(url, max_length)
        except ResourceFinalError as error:
            raise DownloadHTTPError(f"{url}: {error}", error.status) from error
        except TransferError as error:
            raise DownloadError(str(error)) from error
        try:
            with OwnedReader(io.FileIO(path)) as file:
                yield file
        finally:
            self._client.forget(url)


class StickFirst:
    """Fetches from a bundle while one lies in its place, and from the network otherwise; never from both at once."""

    def __init__(self, stick: Path, network: ResumingFetcher) -> None:
        self._stick, self._directory, self._network = stick, DirectoryFetcher(stick), network

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the resource as a file; raises as the fetcher that has it."""
        with self._source().download_file(url, max_length) as file:
            yield file

    def _source(self) -> "ResumingFetcher | DirectoryFetcher":
        return self._directory if self._stick.is_dir() else self._network


class DirectoryFetcher:
    """Fetches resources from a folder laid out by their names: `image/metadata/...`, `director/targets/...`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, url: str) -> Path:
        path, parsed = self._folder / url, parse_resource(url)
        if parsed is None or not path.is_file():
            if parsed is not None and parsed[1] == "targets":
                raise DownloadError(f"{url} is not in the folder")  # another folder, or the network, may have it
            raise DownloadHTTPError(f"{path}: it is not there", 404)
        return path

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the resource as a file.

        Raises:
            DownloadHTTPError, DownloadError: the folder does not have it.
            DownloadLengthMismatchError: it is longer than it may be.
        """
        path = self._path(url)
        if path.stat().st_size > max_length:
            raise DownloadLengthMismatchError(f"{path} is longer than {max_length} bytes")
        with path.open("rb") as file:
            yield file
