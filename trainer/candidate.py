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


def check_output(out: Path) -> None:
    """Raise if writing a candidate to `out` would destroy something else.

    Raises:
        OutputRefusedError: it is a file, or a folder that holds something and is no candidate.
    """
    if out.is_dir() and (not any(out.iterdir()) or (out / "release.json").is_file()):
        return
    if out.exists() or out.is_symlink():
        raise OutputRefusedError(f"{out} exists and is no release candidate: give --out a new folder")


def write_candidate(out: Path, manifest: Manifest, files: Mapping[str, bytes], report: bytes) -> None:
    """Write the candidate beside `out` and put it there in one step, over an earlier candidate if there is one.

    Raises:
        OutputRefusedError: `out` holds something else, or cannot be written.
    """
    check_output(out)
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
