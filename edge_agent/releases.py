"""The releases on disk: HOME/releases/<model>/<version>/. A folder there is whole, or it is not there."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from edge_agent.disk import sync_folder
from edge_agent.errors import ReleaseDamagedError
from protocols.errors import ManifestError, NameRefusedError
from protocols.manifest import FileInfo, Manifest, decode_manifest
from protocols.names import ReleaseRef, check_name


class ReleaseStore:
    """Releases arrive in `staging(ref)`, file by file, and become visible at once with `commit(ref)`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, ref: ReleaseRef) -> Path:
        return self._folder / ref.model / str(ref.version)

    def versions(self, model: str) -> list[ReleaseRef]:
        """Return the releases of a model that are here, newest first."""
        folder = self._folder / model
        if not folder.is_dir():
            return []
        found = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        return [ReleaseRef(model, version) for version in sorted(found, reverse=True)]

    def staging(self, ref: ReleaseRef) -> Path:
        """Return the folder in which the release is put together; what an earlier try left in it is still there."""
        folder = self._folder / ref.model / f".{ref.version}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit(self, ref: ReleaseRef) -> None:
        """Make a staged release visible; one of the same name gives way.

        Its folder is moved aside first, and deleted last: at no moment is there half a folder of that name. What a
        power cut leaves aside is no release that anybody keeps, so `collect` deletes it.
        """
        staged, final = self.staging(ref), self.path(ref)
        sync_folder(staged)
        before = _moved_aside(final) if final.exists() else None
        staged.rename(final)
        sync_folder(final.parent)
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def collect(self, kept: Iterable[ReleaseRef]) -> list[ReleaseRef]:
        """Delete all other releases, with the folders of models that have none left, and return them."""
        wanted = {(ref.model, str(ref.version)) for ref in kept}
        removed = []
        for folder in self._folder.glob("*/*"):
            version = folder.name.removeprefix(".")
            if (folder.parent.name, version) in wanted:
                continue
            if folder.name == version:
                folder = _moved_aside(folder)  # so that a power cut leaves no half of a release under its name
            shutil.rmtree(folder, ignore_errors=True)
            if version.isdigit() and folder.name != f".{version}":
                with contextlib.suppress(NameRefusedError):
                    removed.append(ReleaseRef(check_name("model", folder.parent.name), int(version)))
        for folder in self._folder.glob("*/"):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        return removed


def _moved_aside(folder: Path) -> Path:
    """Take a release's folder out of sight and return where it is now."""
    aside = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def read_release(folder: Path) -> Manifest:
    """Return a release folder's manifest after checking every file that it names.

    Raises:
        ReleaseDamagedError: a file is missing or is not the one that the manifest describes.
        ManifestError: release.json is unreadable or contradicts itself.
    """
    manifest = read_manifest(folder)
    for name, info in manifest.files.items():
        check_file(folder / name, info, signed=manifest.version > 0)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return a release folder's manifest, and believe it.

    Raises:
        ReleaseDamagedError, ManifestError: as `read_release`.
    """
    try:
        return decode_manifest((folder / "release.json").read_bytes())
    except OSError as error:
        raise ReleaseDamagedError(f"{folder}: no readable release.json ({error.strerror}); is it a release?") from error
    except ManifestError as error:
        said = str(error).removeprefix("release.json: ")
        raise ManifestError(
            f"{folder / 'release.json'}: {said}; if it was damaged, fetch the release or make the candidate again"
        ) from error


def check_file(path: Path, info: FileInfo, *, signed: bool = True) -> None:
    """Return if a file has the size and digest that its manifest gives; a candidate's was never signed.

    Raises:
        ReleaseDamagedError: it does not, or is not there; the text says which file, and the way out.
    """
    if path.name != str(path.relative_to(path.parent)):
        raise ReleaseDamagedError(f"{path}: a release's files lie side by side")
    when, way_out = (
        ("it was signed", "fetch the release again") if signed else ("it was made", "make the candidate again")
    )
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReleaseDamagedError(f"{path}: {error.strerror}; {way_out}") from error
    if (size, digest) != (info.size_bytes, info.sha256):
        raise ReleaseDamagedError(
            f"{path} was changed after {when}: it is {size} bytes, sha256 {digest[:12]}..., and release.json "
            f"says {info.size_bytes} bytes, {info.sha256[:12]}...; {way_out}"
        )
