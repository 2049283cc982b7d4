"""What the trusted metadata signs, compared with a release's files: of a home, or of a bundle."""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    RepositoryError,
)

from edge_agent.bundles import read_bundle
from edge_agent.errors import HomeError, ReleaseDamagedError, ScoreError, TrustError
from edge_agent.fetchers import DirectoryFetcher
from edge_agent.releases import read_manifest
from edge_agent.settings import AgentHome
from edge_agent.signed_metadata import Fetcher
from edge_agent.updater import MetadataUpdater, TufFetcher
from protocols.errors import MetadataFormError
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES, metadata_url, target_path, targets_url


def check_files(folder: Path, ref: ReleaseRef, home: AgentHome) -> None:
    """Compare a release's folder with what the home's trusted metadata signs.

    Raises:
        ReleaseDamagedError, TrustError: a file or a signature is not right.
        HomeError: the home has no root to begin with.
    """
    with _trusted(home, _KeptMetadata(home.metadata / "image"), home.image_root) as updater:
        for name in RELEASE_FILES:
            _check_file(updater, folder / name, target_path(ref, name))
        for name in _variants(folder):
            _check_file(updater, folder / name, target_path(ref, name))


@contextlib.contextmanager
def unpacked(folder: Path, home: AgentHome | None, registry: str) -> Iterator[tuple[Path, str]]:
    """Yield a copy of the bundle's only release, every file of it checked, and one line for a person.

    Args:
        home: whose trusted root counts; None for the bundle's own.
        registry: the URL that the bundle was fetched from, if it was.

    Raises:
        ScoreError: it holds no release, or several.
        ReleaseDamagedError, TrustError, BundleRefusedError: a file or a signature is not right.
    """
    bundle = read_bundle(folder)
    if len(bundle.releases) != 1:
        names = ", ".join(map(str, bundle.releases)) or "none"
        raise ScoreError(f"{folder} has several releases or none ({names}); export the one that is meant")
    ref = bundle.releases[0]
    root = folder / metadata_url("image") / "1.root.json"
    with (
        tempfile.TemporaryDirectory() as temporary,
        _trusted(home, DirectoryFetcher(folder), home.image_root if home else root) as updater,
    ):
        for name in RELEASE_FILES:
            _copy(updater, target_path(ref, name), Path(temporary) / name)
        for name in _variants(Path(temporary)):
            _copy(updater, target_path(ref, name), Path(temporary) / name)
        yield Path(temporary), _bundle_note(ref, root, home, registry)


def _variants(folder: Path) -> list[str]:
    """Return the names of a release's variants; its release.json has been checked."""
    return [variant.file for variant in read_manifest(folder).variants.values()]


def _bundle_note(ref: ReleaseRef, root: Path, home: AgentHome | None, registry: str) -> str:
    if home is not None:
        return f"{ref} is as it was signed, by the root that {home.folder} trusts"
    fingerprint = hashlib.sha256(root.read_bytes()).hexdigest()
    where = f"that {registry} gave" if registry else "that is in the bundle"
    return (
        f"{ref} is as it was signed, by the root {where}: sha256:{fingerprint}; compare it with what `genba registry "
        "keys show` prints on the registry's machine, or give --home HOME of a device that is enrolled there"
    )


@contextlib.contextmanager
def _trusted(home: AgentHome | None, fetcher: Fetcher, root: Path) -> Iterator[MetadataUpdater]:
    """Yield the image repository's metadata, verified from a root that is pinned, on a copy of what was seen."""
    with tempfile.TemporaryDirectory() as temporary, _translated():
        folder = Path(temporary) / "image"
        if home is not None and (home.metadata / "image").is_dir():
            shutil.copytree(home.metadata / "image", folder, symlinks=True)
        folder.mkdir(exist_ok=True)
        try:
            pinned = root.read_bytes()
        except OSError as error:
            raise HomeError(f"{root}: {error.strerror}; is that an enrolled agent's home?") from error
        places = metadata_url("image"), targets_url("image")
        updater = MetadataUpdater(folder, *places, TufFetcher(fetcher), root=pinned, now=lambda version: 0.0)
        updater.refresh()
        yield updater


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RepositoryError, MetadataFormError, DownloadError) as error:
        raise TrustError(f"its signatures: {error}") from error


def _check_file(updater: MetadataUpdater, path: Path, target: str) -> None:
    signed = updater.get_targetinfo(target)
    if signed is None:
        raise TrustError(f"{target} was never signed")
    try:
        with path.open("rb") as file:
            signed.verify_length_and_hashes(file)
    except OSError as error:
        raise ReleaseDamagedError(f"{path}: {error.strerror}; fetch the release again") from error
    except LengthOrHashMismatchError as error:
        raise ReleaseDamagedError(f"{path} was changed after it was signed; fetch the release again") from error


def _copy(updater: MetadataUpdater, target: str, path: Path) -> None:
    """Copy a bundle's file, then check the copy: what the stick gives twice may differ."""
    signed = updater.get_targetinfo(target)
    if signed is None:
        raise TrustError(f"{target} was never signed")
    try:
        with updater.open_target(signed) as source, path.open("wb") as file:
            shutil.copyfileobj(source, file)
    except LengthOrHashMismatchError as error:
        raise ReleaseDamagedError(f"{target} was changed after it was signed; export the bundle again") from error
    _check_file(updater, path, target)


class _KeptMetadata:
    """Serves the trusted metadata that python-tuf keeps, under the names that it asks for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        name = url.rpartition("/")[2]
        number, _, role = name.partition(".")
        if role == "root.json":
            path = self._folder / "root_history" / name
        else:
            path = self._folder / (role if number.isdigit() else name)
        if not path.is_file():
            raise DownloadHTTPError(f"{name} is not kept", 404)
        if path.stat().st_size > max_length:
            raise DownloadLengthMismatchError(f"{path} is longer than {max_length} bytes")
        with path.open("rb") as file:
            yield file
