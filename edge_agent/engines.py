"""Engines: what a provider compiled of a release for this very device, HOME/engines/<key>/. One there is whole.

The key says everything that the compiled code depends on, so a driver, an ONNX Runtime or a device that changed finds
no engine and compiles anew, and never loads one that was made for another.
"""

import hashlib
import logging
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from devices.provider_options import ENGINES
from edge_agent.disk import sync_file, sync_folder, write_atomic
from edge_agent.session_plan import SessionPlan, provider_name
from protocols.manifest import FileInfo, Manifest

log = logging.getLogger(__name__)

_SEAL = "engine.json"
#: Parts of a plan that change no compiled code.
_NO_MATTER = {"threads", "cache", "asked", "allow_fallback", "mapped", "prepacked", "max_batch"}


class Seal(msgspec.Struct, frozen=True):
    """`engine.json`: what an engine was made of, and its files, as they were when it had been proven.

    Attributes:
        model, digest: of which release.
        parts: what its key is the digest of, for a person.
        files: path under the engine's folder -> digest and size.
        reused: a second session took it as it was. False: the provider compiled again, so it is of no use.
        build_s: how long compiling took.
    """

    model: str
    digest: str
    parts: dict[str, Any]
    files: dict[str, FileInfo]
    reused: bool
    build_s: float


class Engine(msgspec.Struct, frozen=True):
    """One whole engine."""

    folder: Path
    seal: Seal

    @property
    def cache(self) -> Path | None:
        """What a session is given; None where its provider compiles again whatever it is given."""
        return self.folder if self.seal.reused else None


def engine_parts(
    manifest: Manifest, plan: SessionPlan, runtime: str, drivers: Mapping[str, str | None], device: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return everything that the engines of a release depend on; None where the plan's providers compile nothing."""
    if not any(provider_name(provider) in ENGINES for provider in plan.providers):
        return None
    chosen = {name: value for name, value in msgspec.to_builtins(plan, enc_hook=str).items() if name not in _NO_MATTER}
    return {
        "model": manifest.digest,
        "files": {name: info.sha256 for name, info in sorted(manifest.files.items()) if name.endswith(".onnx")},
        "plan": chosen,
        "onnxruntime": runtime,
        "drivers": dict(drivers),
        "device": dict(device),
    }


def engine_key(parts: Mapping[str, Any]) -> str:
    """Return the name of an engine's folder."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:32]


class EngineStore:
    """The engines on disk. One thread stages and seals; any may find."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> Engine | None:
        """Return the engine of that key if it is there and whole; what is damaged is deleted."""
        folder = self._folder / key
        try:
            seal = msgspec.json.decode((folder / _SEAL).read_bytes(), type=Seal)
            whole = not seal.reused or take_stock(folder) == seal.files
        except FileNotFoundError:
            whole = not folder.exists()
            seal = None
        except (OSError, msgspec.DecodeError):
            whole, seal = False, None
        if not whole:
            log.warning("an engine on this disk is damaged and will be compiled anew", extra={"engine": key})
            self._discard(folder)
        return Engine(folder, seal) if whole and seal is not None else None

    def stage(self, key: str) -> Path:
        """Return an empty folder for an engine that is about to be compiled, and delete what a power cut left."""
        for left in self._folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = self._folder / f".{key}"
        folder.mkdir(parents=True)
        return folder

    def seal(self, key: str, seal: Seal) -> Engine:
        """Make a staged engine the one of its key, durably, and delete what else was compiled of the same graph."""
        staged, folder = self._folder / f".{key}", self._folder / key
        for name in seal.files:
            sync_file(staged / name)
        for inner in sorted(path for path in staged.rglob("*") if path.is_dir()):
            sync_folder(inner)
        write_atomic(staged / _SEAL, msgspec.json.format(msgspec.json.encode(seal), indent=2))
        self._discard(folder)
        staged.rename(folder)
        sync_folder(self._folder)
        for other in self._all():
            if other.folder != folder and other.seal.digest == seal.digest:
                self._discard(other.folder)
        return Engine(folder, seal)

    def abandon(self, key: str) -> None:
        """Delete a staged engine that came to nothing."""
        shutil.rmtree(self._folder / f".{key}", ignore_errors=True)

    def discard(self, key: str) -> None:
        """Delete an engine that turned out to be of no use."""
        self._discard(self._folder / key)

    def last_build_s(self, model: str) -> float | None:
        """Return how long the last engine of a model took to compile, of those that are here."""
        found = [engine for engine in self._all() if engine.seal.model == model]
        return max(found, key=lambda engine: (engine.folder / _SEAL).stat().st_mtime).seal.build_s if found else None

    def keep_only(self, digests: Collection[str]) -> int:
        """Delete the engines of all other graphs, and return how many those were."""
        gone = [engine for engine in self._all() if engine.seal.digest not in digests]
        for engine in gone:
            self._discard(engine.folder)
        return len(gone)

    def _all(self) -> list[Engine]:
        found = []
        for path in sorted(self._folder.glob(f"[!.]*/{_SEAL}")):
            try:
                found.append(Engine(path.parent, msgspec.json.decode(path.read_bytes(), type=Seal)))
            except (OSError, msgspec.DecodeError):
                continue  # `find` deals with it when it is wanted
        return found

    def _discard(self, folder: Path) -> None:
        """Take a folder out of sight first, so that a power cut leaves no half of it under its name.

        On a disk that takes nothing it stays; it is found to be of no use again.
        """
        if folder.exists():
            aside = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(aside, ignore_errors=True)
            try:
                folder.rename(aside)
            except OSError as error:
                log.warning("an engine cannot be deleted: %s", error.strerror, extra={"engine": folder.name})
            shutil.rmtree(aside, ignore_errors=True)


def take_stock(folder: Path) -> dict[str, FileInfo]:
    """Return the files of an engine's folder, less its seal, with digest and size."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SEAL:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(folder))] = FileInfo(digest, path.stat().st_size)
    return found
