"""A registry's home as a TUF client's fetcher sees it, with no registry process, and a clock that tests move."""

from collections.abc import Iterator

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from registry.delivery import Source
from registry.errors import ResourceMissingError


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class HomeFetcher(FetcherInterface):
    """Serves what the registry would send to one device."""

    def __init__(self, source: Source, device: str) -> None:
        self.source, self.device = source, device

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            resource = self.source.open(self.device, url)
        except ResourceMissingError as error:
            raise DownloadHTTPError(str(error), 404) from error
        return iter([resource.read(0, resource.size)])
