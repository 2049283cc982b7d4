"""One run: a batch is predicted while the next is read and the last is written."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from edge_agent.errors import ResultNotWrittenError, ScoreError
from edge_agent.scoring.checkpoint import Checkpoint, Identity, PartFiles
from edge_agent.scoring.drift import Drift, DriftWatch
from edge_agent.scoring.faults import FaultFile, bad_rows
from edge_agent.scoring.formats import open_sink, reading
from edge_agent.scoring.image_folder import FILE, ImageFolder
from edge_agent.scoring.kept import kept_schema
from edge_agent.scoring.overlap import ReadAhead, WriteBehind, undisturbed
from edge_agent.scoring.predictor import Predictor, Prepared, Scored
from edge_agent.scoring.progress import ProgressLine
from edge_agent.scoring.recorder import Recorder, writing
from edge_agent.scoring.results import ResultMaker
from edge_agent.scoring.sources import Source
from edge_agent.scoring.summary import Summary
from protocols.errors import SketchError
from protocols.manifest import Manifest
from protocols.reference import ReferenceProfile, decode_reference

#: Batches that wait to be predicted, and to be written.
_DEPTH = 2


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. `rows` of the input are safe in an unfinished result; 0: nothing was left."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Job:
    """What is scored with what into what, once all of it is settled.

    Attributes:
        path: of the source.
        files: of the result, which this process has locked.
        before: where an earlier run came to, if this one goes on with it.
        began: when this run did, in seconds of the monotonic clock.
    """

    release: Path
    manifest: Manifest
    path: Path
    source: Source
    files: PartFiles
    identity: Identity
    before: Checkpoint | None
    began: float
    batch_rows: int
    checkpoint_s: float


class Pipeline:
    """Runs a job."""

    def __init__(self, job: Job, progress: ProgressLine | None = None) -> None:
        self._progress = progress
        self._job, self._source, self._files = job, job.source, job.files
        inputs = [] if isinstance(job.source, ImageFolder) else [spec.name for spec in job.manifest.inputs]
        self._columns = list(dict.fromkeys([*inputs, *job.identity.keep]))
        self._watch = DriftWatch(job.manifest, job.before.drift if job.before else None)
        try:
            self._recorder = self._recording()
        except BaseException:
            if job.before is None:
                self._files.discard()
            raise

    def _recording(self) -> Recorder:
        job, before, identity = self._job, self._job.before, self._job.identity
        if before is not None:
            kept = pa.ipc.read_schema(pa.py_buffer(before.schema))
        else:
            if self._progress is not None:
                self._progress.begin("types of the columns: ")
            with reading(job.path):
                inputs, out_form = job.manifest.inputs, identity.out_form
                kept = kept_schema(job.source, identity.keep, inputs, out_form, self._progress)
        raw = job.source.notation == "json" and identity.out_form == "jsonl"
        maker = ResultMaker(
            kept, job.manifest, job.source.notation, identity.on_error, raw=raw, contributions=identity.contributions
        )
        with writing(job.files):
            raw_names = frozenset(kept.names) if raw else frozenset()
            place = before.place if before else []
            sink = open_sink(job.files.out, job.files.part, identity.out_form, maker.schema, place, raw_names)
            size, counts = (before.faults_bytes, before.faults) if before else (0, {})
            side = FaultFile(job.files.faults_part, size, counts)
        return Recorder(
            job.files, identity, sink, maker, side, self._watch, job.source.notation, before,
            clock=time.monotonic, began=job.began, checkpoint_s=job.checkpoint_s,
        )  # fmt: skip

    def execute(self, predictor: Predictor) -> Summary:
        """Read, predict and write, all three at once.

        Raises:
            ScoreError: as `score_file`; nothing is left but what a later run may go on with.
        """
        recorder, progress = self._recorder, self._progress
        if progress is not None:
            progress.begin("")
        reader = ReadAhead(self._prepared(predictor), _DEPTH)
        writer: WriteBehind[Scored] = WriteBehind(recorder.add, _DEPTH)
        try:
            for prepared, share in reader:
                scored = predictor.predict(prepared)
                self._stop_at_bad(scored)
                writer.put(scored)
                if progress is not None:
                    done = prepared.batch.first + prepared.batch.rows
                    progress.show(done, done / self._source.rows if self._source.rows else share)
            writer.finish()
            return undisturbed(lambda: recorder.finish(self._judged))
        except KeyboardInterrupt:
            reader.close()
            writer.finish()
            raise Interrupted(self._saved()) from None
        except ResultNotWrittenError as error:
            if not recorder.saved:
                self._files.discard()
                raise
            safe = f"{recorder.saved} rows are safe, and --resume goes on after them"
            raise ResultNotWrittenError(f"{error}; {safe}") from error
        except BaseException:
            writer.abandon()
            self._files.discard()
            raise
        finally:
            reader.close()
            writer.abandon()
            if progress is not None:
                progress.end()
            recorder.close()

    def _prepared(self, predictor: Predictor) -> Iterator[tuple[Prepared, float]]:
        """Yield what can be predicted, and the share of the source that is read."""
        with reading(self._job.path):
            most = min(self._job.batch_rows, predictor.most_rows or self._job.batch_rows)
            for batch in self._source.batches(self._columns, done=self._recorder.done, most=most):
                share = self._source.share_read()
                self._watch.expect(self._source.rows or (batch.first + batch.rows) / max(share, 1e-9))
                yield predictor.prepare(batch), share

    def _stop_at_bad(self, scored: Scored) -> None:
        if self._job.identity.on_error != "stop" or not (scored.prepared.bad or scored.prepared.batch.lost):
            return
        row = bad_rows(scored, self._source.notation)[0]
        if isinstance(self._source, ImageFolder) and row.values:
            raise ScoreError(f"{self._job.path / row.values[FILE]}, row {row.row}: {row.reason}")
        stood = f": {row.text[:60]!r}" if row.text is not None else ""
        raise ScoreError(f"{self._job.path}, row {row.row}, {row.reason}{stood}")

    def _saved(self) -> int:
        """Keep what was done, and return how many rows that is."""
        if self._recorder.done:
            self._recorder.save()
        else:
            self._files.discard()
        return self._recorder.done

    def _judged(self) -> Drift:
        return self._watch.judged(_reference(self._job.release))


def _reference(release: Path) -> ReferenceProfile | None:
    try:
        return decode_reference((release / "reference").read_bytes())
    except (FileNotFoundError, SketchError):
        return None
