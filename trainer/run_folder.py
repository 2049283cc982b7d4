"""The folder beside a candidate where a run keeps what it has found: a run that was killed goes on from it."""

import contextlib
import hashlib
import shutil
from pathlib import Path
from types import TracebackType

import msgspec

from trainer.errors import OutputRefusedError
from trainer.lineage import code_version, pins
from trainer.request import TrainRequest

#: What decides what a trial gives. The budget does too, by the rows and folds that it pays for.
_DECIDING = ("target", "task", "budget_s", "seed", "keep", "drop", "group", "validate", "metric", "trials")


class RunFolder:
    """`OUT.search` beside the candidate `OUT`. It is gone when the run has done its work."""

    def __init__(self, out: Path, request: TrainRequest, data_sha256: str, *, anew: bool = False) -> None:
        self.path = out.absolute().parent / f"{out.name}.search"
        asked = {name: getattr(request, name) for name in _DECIDING}
        told = msgspec.json.encode([data_sha256, code_version(), pins(), asked], order="sorted")
        self.digest = hashlib.sha256(told).hexdigest()
        self._anew = anew

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
        (self.path / "spent_s").write_text(f"{seconds:.1f}")

    def __enter__(self) -> "RunFolder":
        try:
            request = self.path / "request"
            if self.path.exists() and (self._anew or not request.exists() or request.read_text() != self.digest):
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            request.write_text(self.digest)
            shutil.rmtree(self.table, ignore_errors=True)
            self.table.mkdir()
        except OSError as error:
            raise OutputRefusedError(
                f"{self.path} cannot be written ({error.strerror}): give --out a folder beside which there is room"
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """A run that ended, well or by an error, leaves nothing; one that was stopped or killed leaves its trials."""
        shutil.rmtree(self.table if kind is KeyboardInterrupt else self.path, ignore_errors=True)
