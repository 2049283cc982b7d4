"""One TUF repository's metadata, kept up to date: python-tuf's updater with this device's time, disk and manners.

The rules of TUF are python-tuf's. What differs, and why, is in docs/adr/0009.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tuf.api.metadata import TargetFile
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from edge_agent.disk import sync_folder, write_atomic
from edge_agent.signed_metadata import Fetcher
from protocols.metadata_form import check_form
from protocols.trust import read_signed_at


class TufFetcher(FetcherInterface):
    """A fetcher as python-tuf wants it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError(f"{url}: files are asked for, and no streams")

    def download_file(self, url: str, max_length: int) -> AbstractContextManager[IO[bytes]]:  # type: ignore[override]
        return self._fetcher.download_file(url, max_length)


class MetadataUpdater(Updater):
    """Brings one repository's metadata up to date, once; make another for the next time.

    Args:
        folder: where the trusted metadata lies; written only with what was verified, so that a power cut leaves
            the old file or the new one.
        url: what names of metadata files are appended to; `targets_url` the same for targets.
        root: the pinned root, from which the chain of roots is followed; None takes folder/root.json.
        now: takes the version of the root that is trusted, returns the time by which expiry is judged.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        targets_url: str,
        fetcher: FetcherInterface | None,
        *,
        root: bytes | None,
        now: Callable[[int], float],
    ) -> None:
        self._now = now
        config = UpdaterConfig(app_user_agent="genba")
        super().__init__(str(folder), url, str(folder), targets_url, fetcher, config, bootstrap=root)

    @property
    def root_version(self) -> int:
        return self._trusted_set.root.version

    @property
    def signed_at(self) -> float | None:
        """When the trusted timestamp was signed, if it says so."""
        return read_signed_at(self._trusted_set.timestamp.unrecognized_fields)

    @property
    def delegates(self) -> bool:
        """Whether the repository lets others sign targets in its name."""
        return self._trusted_set.targets.delegations is not None

    @contextlib.contextmanager
    def open_target(self, target: TargetFile) -> Iterator[IO[bytes]]:
        """Yield a target's bytes as a file, after they were compared with the signed length and hashes.

        Raises:
            DownloadError, RepositoryError: it cannot be had, or it is not what was signed.
        """
        with self._fetcher.download_file(self.target_url(target), target.length) as file:
            target.verify_length_and_hashes(file)
            file.seek(0)
            yield file

    def target_url(self, target: TargetFile) -> str:
        """Return what the fetcher is asked for."""
        folder, separator, name = target.path.rpartition("/")
        if self._trusted_set.root.consistent_snapshot:
            name = f"{next(iter(target.hashes.values()))}.{name}"
        return f"{self._target_base_url}{folder}{separator}{name}"

    def _load_root(self) -> None:
        super()._load_root()
        self._trusted_set.reference_time = datetime.fromtimestamp(self._now(self.root_version), UTC)

    def _download_metadata(self, rolename: str, length: int, version: int | None = None) -> bytes:
        data = super()._download_metadata(rolename, length, version)
        check_form(f"{rolename}.json", data)
        return data

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        if not path.is_file() or path.read_bytes() != data:  # what is there already costs the flash nothing
            write_atomic(path, data)

    def _update_root_symlink(self) -> None:
        """Make root.json name the trusted root, with no instant at which it names none."""
        link = Path(self._dir) / "root.json"
        trusted = Path("root_history") / f"{self.root_version}.root.json"
        if link.is_symlink() and link.readlink() == trusted:
            return
        fresh = link.with_name(".root.json")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(trusted)
        fresh.replace(link)
        sync_folder(link.parent)
