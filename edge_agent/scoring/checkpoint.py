"""Where a run has come to, so that a later one goes on after a kill with no row twice and none lost.

Beside a result that is being written, `OUT.part`, lies `OUT.part.checkpoint`. It is replaced whole after the result is
durable up to the place that it names; what lies beyond that place is cut off by the run that goes on.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from edge_agent.disk import sync_folder
from edge_agent.errors import ScoreError
from edge_agent.scoring.drift import DriftState
from edge_agent.scoring.faults import OnError
from edge_agent.scoring.image_folder import image_files
from edge_agent.scoring.predictor import Memory
from edge_agent.scoring.summary import Summary

CHECKPOINT_VERSION = 1
_SAMPLE_BYTES = 64 << 10
_SAMPLES = 64


class Identity(msgspec.Struct, frozen=True):
    """What must be the same for a run to be gone on with; the names are those that a person is told."""

    input: str
    input_digest: str
    release: str
    model_digest: str
    form: str
    out_form: str
    table: str | None
    keep: tuple[str, ...]
    on_error: OnError
    contributions: bool = False

    def difference(self, other: "Identity") -> str | None:
        """Return in words the first thing that is not the same, or None."""
        words = {"input_digest": "the input's content, size or time", "model_digest": "the release's model"}
        for name in self.__struct_fields__:
            before, now = getattr(self, name), getattr(other, name)
            if before != now:
                changed = "" if name in words else f" ({_said(before)} then, {_said(now)} now)"
                return words.get(name, name.replace("_", " ")) + changed
        return None


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


class Checkpoint(msgspec.Struct, frozen=True):
    """One place of a run.

    Attributes:
        done: rows of the input that are dealt with.
        written: rows of the result.
        place: where the result goes on, as its sink gave it.
        schema: of the kept columns, in Arrow's form.
        faults_bytes, faults: how far the side file is, and how many of each kind are in it.
        memory: of a model that looks back.
        least_bytes: of the result as far as it counts; a file that is shorter is not the one that was written.
        summary: of a run that is complete; its files need only take their places.
    """

    identity: Identity
    done: int
    written: int
    place: list[int]
    schema: bytes
    faults_bytes: int
    faults: dict[str, int]
    drift: DriftState
    memory: Memory
    filling: int
    seconds: float
    least_bytes: int
    summary: Summary | None = None
    v: int = CHECKPOINT_VERSION


_decoder = msgspec.json.Decoder(Checkpoint)


class PartFiles:
    """The files of an unfinished run, locked against another one. Nothing is created before `lock`."""

    def __init__(self, out: Path, faults: Path) -> None:
        self.out, self.faults = out, faults
        self.part = _beside(out, ".part")
        self.checkpoint = _beside(out, ".part.checkpoint")
        self.faults_part = _beside(faults, ".part")
        self._new = _beside(self.checkpoint, ".new")
        self._lock: IO[bytes] | None = None

    def lock(self) -> None:
        """Take hold of the result.

        Raises:
            ScoreError: another run has it.
        """
        while self._lock is None:
            held = self.part.open("ab")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.part.exists() and self.part.stat().st_ino == os.fstat(held.fileno()).st_ino:
                    self._lock = held
            except BlockingIOError as error:
                text = f"{self.out}: another `genba score` is writing it; wait for it, or choose another --out"
                raise ScoreError(text) from error
            finally:
                if self._lock is None:  # the other one has it, or has just given the file its name
                    held.close()

    def release(self) -> None:
        """Let go of the result; a file in which nothing was written does not stay."""
        if self._lock is not None:
            if not self.checkpoint.exists() and self.part.exists() and not self.part.stat().st_size:
                self.part.unlink()
            self._lock.close()
            self._lock = None

    def read(self) -> Checkpoint | None:
        """Return where the unfinished run is; None if there is none that can be gone on with."""
        try:
            found = _decoder.decode(self.checkpoint.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        if found.v != CHECKPOINT_VERSION:
            return None
        whole = _size(self.part) >= found.least_bytes and _size(self.faults_part) >= found.faults_bytes
        return found if whole or found.summary is not None else None

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; a kill leaves the old or the new one, and no name that nobody would clear away."""
        with self._new.open("wb") as file:
            file.write(msgspec.json.encode(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        self._new.replace(self.checkpoint)
        sync_folder(self.checkpoint.parent)

    def publish(self, checkpoint: Checkpoint) -> None:
        """Let a complete run's files take their places; harmless where some have."""
        if self.faults_part.exists():
            self.faults_part.replace(self.faults)
            sync_folder(self.faults.parent)
        elif not checkpoint.faults_bytes and checkpoint.identity.on_error != "stop":
            self.faults.unlink(missing_ok=True)
        if _size(self.part) >= checkpoint.least_bytes:
            self.part.replace(self.out)
        else:  # it has its name already, and this is the file that was made to be locked
            self.part.unlink(missing_ok=True)
        self._new.unlink(missing_ok=True)
        self.checkpoint.unlink(missing_ok=True)
        sync_folder(self.out.parent)

    def discard(self) -> None:
        """Delete what is unfinished."""
        for path in (self.checkpoint, self._new, self.part, _beside(self.part, "-journal"), self.faults_part):
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def fingerprint(path: Path) -> str:
    """Return what changes when a file, or a folder's list of files, does.

    It is the size, the time, and a digest of 64 places spread over the file: an input may be larger than memory, and
    reading it through would take as long as scoring it.
    """
    digest = hashlib.sha256()
    for each in map(path.joinpath, image_files(path)) if path.is_dir() else [path, *_siblings(path)]:
        status = each.stat() if each.exists() else each.lstat()
        digest.update(f"{each.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    if path.is_file():
        for sample in _samples(path):
            digest.update(sample)
    return digest.hexdigest()


def _siblings(path: Path) -> list[Path]:
    """A SQLite database may keep its newest rows beside it."""
    beside = _beside(path, "-wal")
    return [beside] if beside.is_file() else []


def _samples(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        for index in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            yield file.read(_SAMPLE_BYTES)
