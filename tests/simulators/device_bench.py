"""A device's verifier beside a signed registry, with an attacker's place between them."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simulators.registry_side import SignedReleases
from simulators.small_models import write_release
from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.metadata_here import read_here
from edge_agent.releases import ReleaseStore
from edge_agent.signed_metadata import OpenReader, PinnedRoots
from edge_agent.trusted_time import TrustedTime
from edge_agent.verification import Verifier
from protocols.names import ReleaseRef

ONE = ReleaseRef("ccpp", 1)
Read = Callable[[str], bytes | None]


class Wire(FetcherInterface):
    """Fetches what `read` gives; `tamper` sits in the middle."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.tamper: Callable[[str, bytes | None], bytes | None] = lambda url, data: data
        self.asked: list[str] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.asked.append(url)
        data = self.tamper(url, self.read(url))
        if data is None:
            raise DownloadHTTPError("not there", 404)
        yield data

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[Any]:
        data = b"".join(self._fetch(url))
        if len(data) > max_length:
            raise DownloadLengthMismatchError("too long")
        yield io.BytesIO(data)


class Bench:
    """A device's verifier beside a signed registry."""

    def __init__(
        self,
        signed: SignedReleases,
        folder: Path,
        device: str = "press-1",
        profile: str = "x86",
        *,
        roots: PinnedRoots | None = None,
        time: TrustedTime | None = None,
        open_reader: OpenReader = read_here,
    ) -> None:
        self.signed, self.folder, self.open_reader = signed, folder, open_reader
        self.wire = Wire(lambda url: signed.read(device, url))
        self.store = ReleaseStore(folder / "releases")
        roots = roots or PinnedRoots(signed.image.root, signed.director.root)
        self.verifier = Verifier(
            folder / "metadata",
            roots,
            self.wire,
            device=device,
            profile=profile,
            time=time,
            open_reader=open_reader,
        )

    def publish(self, ref: ReleaseRef = ONE, **options: Any) -> Path:
        folder = self.folder / "made" / str(ref)
        write_release(folder, name=ref.model, version=ref.version)
        self.signed.publish(ref, folder, **options)
        return folder
