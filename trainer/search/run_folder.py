"""The folder beside a candidate where a run keeps what it has found: a run that was killed goes on from it."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from trainer.errors import OutputRefusedError
from trainer.lineage import code_version, pins
from trainer.request import TrainRequest

#: What decides what a trial gives. The budget does too, by the rows and folds that it pays for.
_DECIDING = ("target", "task", "budget_s", "seed", "keep", "drop", "group", "validate", "metric", "trials")


class RunFolder:
    """`OUT.search` beside the candidate `OUT`. It is gone when the run has done its work.

    One run at a time has it: a lock on the folder itself, which ends with its process.

    Args:
        pace: the machine's slowness that the rows were divided for; a run that goes on divides them for the same.
        anew: what another run left is forgotten.
    """

    def __init__(self, out: Path, request: TrainRequest, data_sha256: str, pace: float, *, anew: bool = False) -> None:
        self.path = _beside(out)
        self.digest = _digest([data_sha256, _asked(request), pace])
        self._pace = f"{_asked(request)} {pace!r}"
        self._anew = anew
        self._lock = -1

    @property
    def table(self) -> Path:
        """Where the workers' table lies."""
        return self.path / "table"

    @property
    def journal(self) -> Path:
        return self.path / "trials"

    @property
    def spent_s(self) -> float:
        """Seconds that runs which were killed have searched."""
        with contextlib.suppress(OSError, ValueError):
            return float((self.path / "spent_s").read_text())
        return 0.0

    def spend(self, seconds: float) -> None:
        made = self.path / "spent_s.made"
        made.write_text(f"{seconds:.1f}")
        made.rename(self.path / "spent_s")

    def __enter__(self) -> "RunFolder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            request = self.path / "request"
            if self._anew or not request.exists() or request.read_text() != self.digest:
                _empty(self.path)
            (self.path / "pace").write_text(self._pace)
            request.write_text(self.digest)
            shutil.rmtree(self.table, ignore_errors=True)
            self.table.mkdir()
        except BlockingIOError as error:
            self._unlock()
            raise OutputRefusedError(
                f"{self.path} is in use by another run for the same --out: wait for it, or give --out another folder"
            ) from error
        except OSError as error:
            self._unlock()
            raise OutputRefusedError(
                f"{self.path} cannot be written ({error.strerror}): give --out a folder beside which there is room"
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """A run that ended well leaves nothing; any other leaves the trials that it has finished."""
        kept = _was_stopped(error) or (error is not None and any(self.journal.glob("*.npz")))
        shutil.rmtree(self.table if kept else self.path, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@contextlib.contextmanager
def telling_what_is_kept(out: Path) -> Iterator[None]:
    """An error that leaves trials beside `out` says so."""
    try:
        yield
    except BaseException as error:
        folder = _beside(out)
        if any(folder.glob("trials/*.npz")):
            error.add_note(
                f"the trials are kept in {folder}: the same command goes on from them, also with other limits; "
                "--anew forgets them"
            )
        raise


def kept_pace(out: Path, request: TrainRequest) -> float | None:
    """Return the pace of a run that was killed, where the same request would go on from it."""
    if request.anew:
        return None
    with contextlib.suppress(OSError, ValueError):
        asked, pace = (_beside(out) / "pace").read_text().split()
        return float(pace) if asked == _asked(request) else None
    return None


def _was_stopped(error: BaseException | None) -> bool:
    """Whether a person stopped it, also where what was being done then failed for that."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _beside(out: Path) -> Path:
    return out.absolute().parent / f"{out.absolute().name}.search"


def _asked(request: TrainRequest) -> str:
    return _digest([code_version(), pins(), {name: getattr(request, name) for name in _DECIDING}])


def _digest(told: object) -> str:
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()


def _locked(folder: Path) -> int:
    """Return a descriptor that holds the folder. Raises BlockingIOError where another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            os.close(descriptor)
            raise
        # A file system without locks: then there is none.
    return descriptor


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
