"""Writing a bundle: what the registry has signed and the releases' files, aside first, then in place at once."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from protocols.bundles import BUNDLE_FILE, RETURNS_FOLDER, Bundle, encode_bundle
from protocols.resources import parse_resource, parse_target_path
from registry.client.rest import RegistryClient
from registry.errors import BundleNotWrittenError, RegistryUnreachableError

Progress = Callable[[int, int], None]


class _Reply(msgspec.Struct):
    bundle: Bundle
    contents: dict[str, bytes]


def export(client: RegistryClient, wanted: dict[str, Any], out: Path, progress: Progress) -> Bundle:
    """Write a bundle to `out`; at a power cut there is the old one, the new one or none, never half of one.

    Args:
        wanted: device or release, and valid_days, as POST /bundles takes them.
        progress: takes (bytes written, bytes in all).

    Raises:
        BundleNotWrittenError: `out` is something else, or the stick is full.
        RegistryRefusedError, RegistryUnreachableError: as RegistryClient says.
    """
    _check_place(out)
    reply = msgspec.convert(client.send("POST", "/bundles", wanted), _Reply, strict=True)
    try:
        for stale in out.parent.glob(f".{out.name}.export-*"):
            shutil.rmtree(stale, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.export-"))
        try:
            _fill(client, reply, staged, progress)
            _take_place(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise BundleNotWrittenError(f"{error.filename or out}: {error.strerror}") from error
    return reply.bundle


def _check_place(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not (out / BUNDLE_FILE).is_file()):
        raise BundleNotWrittenError(f"--out {out} is there already and is no bundle; name a folder that is not there")
    if not out.parent.is_dir():
        raise BundleNotWrittenError(f"--out {out}: there is no folder {out.parent}")


def _fill(client: RegistryClient, reply: _Reply, staged: Path, progress: Progress) -> None:
    staged.chmod(0o755)
    total, written = sum(reply.bundle.files.values()), 0
    for name, size in reply.bundle.files.items():
        if parse_resource(name) is None:
            raise RegistryUnreachableError(client.url, f"it names a file {name!r}, which no bundle has")
        known = reply.contents.get(name)
        data = [known] if known is not None else client.download(_place(name))
        before = written
        for count in _write(staged / name, data):
            written += count
            progress(written, total)
        if written - before != size:
            raise RegistryUnreachableError(client.url, f"{name} came with {written - before} bytes, and has {size}")
    for _ in _write(staged / BUNDLE_FILE, [encode_bundle(reply.bundle)]):
        pass


def _place(name: str) -> str:
    """Return where the registry gives a release's file: `image/targets/press/3/<sha256>.model.onnx`."""
    _, _, path = name.split("/", 2)
    ref, prefixed = parse_target_path(path)
    return f"/models/{ref.model}/releases/{ref.version}/files/{prefixed.partition('.')[2]}"


def _write(path: Path, chunks: Iterable[bytes]) -> Iterable[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for chunk in chunks:
            yield file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _take_place(staged: Path, out: Path) -> None:
    """Rename; an older bundle gives way, and what it carries home stays on the stick."""
    if (out / RETURNS_FOLDER).is_dir():
        shutil.copytree(out / RETURNS_FOLDER, staged / RETURNS_FOLDER)
    _sync(staged)
    if out.exists():
        old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.export-"))
        out.rename(old / out.name)
        staged.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.rename(out)
    _sync(out.parent, deep=False)


def _sync(folder: Path, *, deep: bool = True) -> None:
    for one in [folder, *(path for path in folder.rglob("*") if path.is_dir())] if deep else [folder]:
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
