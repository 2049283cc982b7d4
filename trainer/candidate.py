"""A release candidate on disk: written whole or not at all, and read back with its digests checked."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from protocols.errors import ManifestError
from protocols.manifest import FileInfo, Manifest, decode_manifest, encode_manifest
from trainer.errors import CandidateError, OutputRefusedError

#: What a manifest's `files` lists; release.json lists them and report.json is the trainer's own.
LISTED = ("golden.npz", "reference", "model.onnx")


def file_info(data: bytes) -> FileInfo:
    return FileInfo(hashlib.sha256(data).hexdigest(), len(data))


def check_output(out: Path, *, force: bool = False) -> None:
    """Raise if a candidate could not be written to `out`, or would destroy what is there.

    Args:
        force: an earlier candidate there may be replaced.

    Raises:
        OutputRefusedError: it is a file, a folder that holds something else, an earlier candidate, or out of reach.
    """
    if (out / "release.json").is_file():
        if not force:
            raise OutputRefusedError(
                f"{out} holds {_described(out)}: give --out a new folder, or --force to replace it"
            )
    elif (out.exists() or out.is_symlink()) and not (out.is_dir() and not any(out.iterdir())):
        raise OutputRefusedError(f"{out} exists and is no release candidate: give --out a new folder")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputRefusedError(f"{out} cannot be written: {parent} is no folder that can be; give --out another")


def _described(folder: Path) -> str:
    """What a person needs to know of a candidate before it is thrown away."""
    try:
        found = decode_manifest((folder / "release.json").read_bytes())
    except (OSError, ManifestError):
        return "a candidate that cannot be read"
    metric = found.metrics.get(found.metric)
    figure = "not measured" if metric is None else f"{found.metric} {metric:.4g}"
    what = f"the release {found.release}" if found.version else f"a candidate of {found.model!r}"
    return f"{what} ({figure}, made {found.created})"


def write_candidate(
    out: Path, manifest: Manifest, files: Mapping[str, bytes], report: bytes, *, force: bool = False
) -> None:
    """Write the candidate beside `out` and put it there in one step; with `force` over an earlier one.

    Raises:
        OutputRefusedError: what `check_output` refuses.
    """
    check_output(out, force=force)
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    except OSError as error:
        raise OutputRefusedError(f"{out} cannot be written ({error.strerror}): give --out another folder") from error
    try:
        made.chmod(0o755)
        for name, data in {**files, "report.json": report, "release.json": encode_manifest(manifest)}.items():
            _write(made / name, data)
        _sync(made)
        _replace(made, out)
        _sync(parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def read_candidate(folder: Path) -> Manifest:
    """Return the manifest of a candidate or release folder, its files checked against their digests.

    Raises:
        CandidateError: a file is not there or is not the one that the manifest describes.
    """
    try:
        manifest = decode_manifest((folder / "release.json").read_bytes())
    except OSError as error:
        raise CandidateError(f"{folder} is no release folder: release.json: {error.strerror}") from error
    except ManifestError as error:
        raise CandidateError(f"{folder}: {error}") from error
    for name, info in manifest.files.items():
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise CandidateError(f"{folder}: {name}: {error.strerror}") from error
        if file_info(data) != info:
            raise CandidateError(f"{folder}: {name} is not the file that release.json describes: make it again")
    return manifest


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(made: Path, out: Path) -> None:
    """Folders cannot be renamed over full ones: the earlier candidate steps aside first."""
    if not out.exists():
        made.rename(out)
        return
    aside = made.with_name(f"{made.name}.old")
    out.rename(aside)
    made.rename(out)
    shutil.rmtree(aside)
