"""Where python-tuf gets its bytes: blocks over MQTT, or a directory (a stick). Both as its fetcher interface."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.errors import ResourceFinalError, TransferError
from edge_agent.transfer import BlockClient
from protocols.resources import parse_resource

_CHUNK_BYTES = 1024 * 1024


class BlockFetcher(FetcherInterface):
    """Fetches resources over MQTT. A target that is cut off resumes; one that was read to its end is forgotten."""

    def __init__(self, client: BlockClient) -> None:
        self._client = client

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self.download_file(url, _CHUNK_BYTES * 16) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

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
            with path.open("rb") as file:
                yield file
        finally:
            self._client.forget(url)


class DirectoryFetcher(FetcherInterface):
    """Fetches resources from a folder laid out by their names: `image/metadata/...`, `director/targets/...`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self.download_file(url, self._path(url).stat().st_size) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _path(self, url: str) -> Path:
        path = self._folder / url
        if parse_resource(url) is None or not path.is_file():
            raise DownloadHTTPError(f"{path}: it is not there", 404)
        return path

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the resource as a file.

        Raises:
            DownloadHTTPError: the folder does not have it.
            DownloadLengthMismatchError: it is longer than it may be.
        """
        path = self._path(url)
        if path.stat().st_size > max_length:
            raise DownloadLengthMismatchError(f"{path} is longer than {max_length} bytes")
        with path.open("rb") as file:
            yield file
