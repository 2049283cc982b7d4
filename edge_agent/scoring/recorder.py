"""What becomes of scored batches: the result, the side file of bad rows, the drift, and now and then a checkpoint."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator

import pyarrow as pa

from edge_agent.errors import ResultNotWrittenError
from edge_agent.scoring.checkpoint import Checkpoint, Identity, PartFiles
from edge_agent.scoring.drift import Drift, DriftWatch
from edge_agent.scoring.faults import FaultFile, bad_rows
from edge_agent.scoring.predictor import Memory, Scored
from edge_agent.scoring.results import ResultMaker
from edge_agent.scoring.sources import Notation, Sink
from edge_agent.scoring.summary import Summary


class Recorder:
    """Takes the batches of one run in their order. Used by one thread at a time.

    Args:
        before: where an earlier run came to, if this one goes on with it.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        files: PartFiles,
        identity: Identity,
        sink: Sink,
        maker: ResultMaker,
        faults: FaultFile,
        watch: DriftWatch,
        notation: Notation,
        before: Checkpoint | None,
        *,
        clock: Callable[[], float],
        began: float,
        checkpoint_s: float,
    ) -> None:
        self._files, self._identity, self._sink, self._maker = files, identity, sink, maker
        self._faults, self._watch, self._notation = faults, watch, notation
        self._clock, self._checkpoint_s = clock, checkpoint_s
        self.done = self.resumed_at = before.done if before else 0
        self._written = before.written if before else 0
        self._memory = before.memory if before else Memory()
        self._filling = before.filling if before else 0
        self._began = began - (before.seconds if before else 0.0)
        self._saved_at, self.saved = clock(), self.done

    def add(self, scored: Scored) -> None:
        """Record one batch.

        Raises:
            ResultNotWrittenError: there is no room, for instance.
        """
        batch = scored.prepared.batch
        with writing(self._files):
            self._faults.add(bad_rows(scored, self._notation))
            table = self._maker.make(scored)
            self._sink.write(table)
            self._watch.add(scored.prepared.columns, scored.predictions)
            self._memory = scored.memory
            self._filling += scored.filling
            self._written += table.num_rows
            self.done = batch.first + batch.rows
            if self._clock() - self._saved_at >= self._checkpoint_s:
                self.save()

    def save(self) -> None:
        """Make everything so far durable."""
        with writing(self._files):
            self._files.write(self._checkpoint(self._sink.commit(), None))
            self._saved_at, self.saved = self._clock(), self.done

    def finish(self, judged: Callable[[], Drift]) -> Summary:
        """Make whole files of what was written, let them take their places, and return what was done."""
        with writing(self._files):
            self._sink.finish()
            self._sink.close()
            summary = Summary(
                out=str(self._files.out),
                release=self._identity.release,
                rows=self.done,
                written=self._written,
                filling=self._filling,
                bad=dict(self._faults.counts),
                faults=str(self._files.faults) if self._faults.counts else None,
                seconds=self._clock() - self._began,
                resumed_at=self.resumed_at,
                drift=judged(),
            )
            checkpoint = self._checkpoint([], summary)
            self._faults.close()
            self._files.write(checkpoint)
            self._files.publish(checkpoint)
        return summary

    def close(self) -> None:
        """Let go of the files, as they are."""
        with contextlib.suppress(OSError, sqlite3.Error, pa.ArrowException):
            self._sink.close()
        with contextlib.suppress(OSError):
            self._faults.close()

    def _checkpoint(self, place: list[int], summary: Summary | None) -> Checkpoint:
        return Checkpoint(
            identity=self._identity,
            done=self.done,
            written=self._written,
            place=place,
            schema=self._maker.kept.serialize().to_pybytes(),
            faults_bytes=self._faults.commit(),
            faults=dict(self._faults.counts),
            drift=self._watch.state(),
            memory=self._memory,
            filling=self._filling,
            seconds=self._clock() - self._began,
            least_bytes=self._files.part.stat().st_size,
            summary=summary,
        )


@contextlib.contextmanager
def writing(files: PartFiles) -> Iterator[None]:
    """Turn what writing may raise into one line that names the result."""
    try:
        yield
    except (OSError, sqlite3.Error, pa.ArrowException) as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ResultNotWrittenError(f"{files.out}: {said}; make room, or choose another --out") from error
