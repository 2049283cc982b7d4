"""A release's files as the folder that was published: fetched whole or not at all, and read back digest by digest."""

import hashlib
import tempfile
from pathlib import Path

from protocols.errors import ManifestError
from protocols.manifest import Manifest, decode_manifest
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES
from registry.client.rest import RegistryClient
from registry.errors import ModelSignatureError
from registry.signing.metadata import write_atomic

_MANIFEST = "release.json"


def fetch_release(client: RegistryClient, ref: ReleaseRef, folder: Path) -> None:
    """Write a release's files to a new folder.

    Raises:
        ModelSignatureError: there is something of that name, or it cannot be written.
        RegistryRefusedError, RegistryUnreachableError: as RegistryClient says.
    """
    if folder.exists():
        raise ModelSignatureError(f"{folder} exists already; name a new folder with --folder, or sign that one")
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staged:
            whole = Path(staged) / "release"
            where = f"/models/{ref.model}/releases/{ref.version}/files"
            for name in RELEASE_FILES:
                write_atomic(whole / name, b"".join(client.download(f"{where}/{name}")), 0o644)
            for variant in _read_manifest(whole).variants.values():
                write_atomic(whole / variant.file, b"".join(client.download(f"{where}/{variant.file}")), 0o644)
            whole.rename(folder)
    except OSError as error:
        raise ModelSignatureError(f"{folder}: {error.strerror}; name another with --folder") from error


def read_release(folder: Path) -> tuple[ReleaseRef, dict[str, str]]:
    """Return which release a folder holds, and the digest of each of its files.

    Raises:
        ModelSignatureError: a file is missing, too many, or not the one that release.json describes.
    """
    manifest = _read_manifest(folder)
    digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    wanted = {name: info.sha256 for name, info in manifest.files.items()} | {_MANIFEST: digests[_MANIFEST]}
    wrong = sorted(name for name in digests.keys() | wanted.keys() if digests.get(name) != wanted.get(name))
    if wrong:
        raise ModelSignatureError(
            f"{folder}: {wrong[0]} {_fault(wrong[0], digests, wanted)}; only a release as it was published is signed"
        )
    return manifest.release, digests


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = decode_manifest((folder / _MANIFEST).read_bytes())
    except OSError as error:
        raise ModelSignatureError(f"{folder} is no release folder ({_MANIFEST}: {error.strerror})") from error
    except ManifestError as error:
        raise ModelSignatureError(f"{folder}: {error}") from error
    if not manifest.version:
        raise ModelSignatureError(f"{folder} is a candidate, not a release; publish it first")
    return manifest


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise ModelSignatureError(f"{path} is not a plain file; a release folder holds nothing else")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(name: str, found: dict[str, str], wanted: dict[str, str]) -> str:
    if name not in found:
        return "is missing"
    return "was changed" if name in wanted else f"is not among the files of {_MANIFEST}"
