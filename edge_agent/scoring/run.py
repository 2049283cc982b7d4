"""`genba score`: a file through a release's model, in batches, with no registry and no broker."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from devices.cgroups import read_limits
from devices.probe import usable_cores
from edge_agent.errors import ResultNotWrittenError, ScoreError
from edge_agent.inference import Model
from edge_agent.releases import read_release
from edge_agent.scoring.checkpoint import Checkpoint, Identity, PartFiles, fingerprint
from edge_agent.scoring.drift import Drift, DriftWatch
from edge_agent.scoring.faults import FaultFile, OnError, bad_rows
from edge_agent.scoring.formats import form_of, open_sink, open_source, reading
from edge_agent.scoring.image_folder import ImageFolder
from edge_agent.scoring.kept import kept_schema
from edge_agent.scoring.overlap import ReadAhead, WriteBehind, undisturbed
from edge_agent.scoring.predictor import Predictor, Prepared, Scored
from edge_agent.scoring.progress import ProgressLine
from edge_agent.scoring.recorder import Recorder, writing
from edge_agent.scoring.requirements import check_places, checked_columns, named, proven_providers
from edge_agent.scoring.results import ResultMaker
from edge_agent.scoring.sources import Source
from edge_agent.scoring.summary import Summary
from edge_agent.session_plan import SessionPlan
from protocols.errors import SketchError
from protocols.manifest import Manifest
from protocols.reference import ReferenceProfile, decode_reference

#: Batches that wait to be predicted, and to be written.
_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is scored.

    Attributes:
        keep: the columns to copy; None for all.
        form, out_form: what the files are; None: what their names say.
        table: of a SQLite database; None for its only one.
        on_error: what happens at a row that cannot be scored.
        errors: the side file of bad rows; None: beside the result.
        batch_rows: rows that are predicted at once.
        threads: of ONNX Runtime; 0 for all cores that this process may use.
        resume: go on with an unfinished run.
        checkpoint_s: seconds between two places from which a later run can go on.
    """

    keep: Sequence[str] | None = None
    form: str | None = None
    out_form: str | None = None
    table: str | None = None
    on_error: OnError = "stop"
    errors: Path | None = None
    batch_rows: int = 16_384
    threads: int = 0
    resume: bool = False
    checkpoint_s: float = 10.0


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. `rows` of the input are safe in an unfinished result; 0: nothing was left."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows


def score_file(
    release: Path,
    source: Path,
    out: Path,
    options: Options | None = None,
    *,
    tell: Callable[[str], None] = lambda text: None,
    progress: ProgressLine | None = None,
) -> Summary:
    """Write the kept columns of `source`, `prediction`, and for a classifier `probability_<class>`, to `out`.

    Args:
        tell: is given notices for a person, a line each.

    Raises:
        ReleaseDamagedError, ManifestError: the release folder is not what was signed.
        ScoreError: the file cannot be scored; the text names the column and the row. `out` is then left as it was.
        Interrupted: by Ctrl-C; what was done is kept for a run that goes on.
    """
    options = options or Options()
    if not release.is_dir():
        raise ScoreError(f"{release} is not a release folder; give the folder that holds release.json and model.onnx")
    faults = options.errors or out.with_name(f"{out.name}.errors.jsonl")
    check_places(source, out, faults)
    form = form_of(source, options.form, "--format")
    out_form = form_of(out, options.out_form, "--out-format")
    manifest = read_release(release)
    threads = options.threads or usable_cores(read_limits())
    model = Model(release, manifest, SessionPlan(providers=tuple(proven_providers(manifest)), threads=threads))
    opened = open_source(source, form, options.table)
    with reading(source):
        kept = checked_columns(source, opened, manifest, options.keep)
        digest = fingerprint(source)
    identity = Identity(
        input=str(source.resolve()),
        input_digest=digest,
        release=named(manifest),
        model_digest=manifest.digest,
        form=form,
        out_form=out_form,
        table=options.table,
        keep=tuple(kept),
        on_error=options.on_error,
    )
    files = PartFiles(out, faults)
    with writing(files):
        files.lock()
    try:
        before = _before(files, identity, tell, resume=options.resume)
        if before is not None and before.summary is not None:
            files.publish(before)
            return before.summary
        run = _Run(release, opened, source, manifest, files, identity, options, before)
        predictor = Predictor(model, manifest, opened.notation, before.memory if before else None)
        return run.execute(predictor, progress)
    finally:
        files.release()


class _Run:
    """One run, once everything about it is settled."""

    def __init__(
        self,
        release: Path,
        opened: Source,
        source: Path,
        manifest: Manifest,
        files: PartFiles,
        identity: Identity,
        options: Options,
        before: Checkpoint | None,
    ) -> None:
        self._opened, self._source, self._files, self._options = opened, source, files, options
        inputs = [] if isinstance(opened, ImageFolder) else [spec.name for spec in manifest.inputs]
        self._columns = list(dict.fromkeys([*inputs, *identity.keep]))
        self._watch = DriftWatch(manifest, before.drift if before else None)
        self._reference = _reference(release)
        self._before = before
        try:
            self._recorder = self._recording(manifest, identity)
        except BaseException:
            if before is None:
                files.discard()
            raise

    def _recording(self, manifest: Manifest, identity: Identity) -> Recorder:
        before, opened, files = self._before, self._opened, self._files
        if before is not None:
            kept = pa.ipc.read_schema(pa.py_buffer(before.schema))
        else:
            with reading(self._source):
                kept = kept_schema(opened, identity.keep, manifest.inputs, identity.out_form)
        raw = opened.notation == "json" and identity.out_form == "jsonl"
        maker = ResultMaker(kept, manifest, opened.notation, self._options.on_error, raw=raw)
        with writing(files):
            raw_names = frozenset(kept.names) if raw else frozenset()
            place = before.place if before else []
            sink = open_sink(files.out, files.part, identity.out_form, maker.schema, place, raw_names)
            size, counts = (before.faults_bytes, before.faults) if before else (0, {})
            side = FaultFile(files.faults_part, size, counts)
        return Recorder(
            files, identity, sink, maker, kept, side, self._watch, opened.notation, before, time.monotonic,
            self._options.checkpoint_s,
        )  # fmt: skip

    def execute(self, predictor: Predictor, progress: ProgressLine | None) -> Summary:
        """Read, predict and write, all three at once."""
        recorder = self._recorder
        reader = ReadAhead(self._prepared(predictor), _DEPTH)
        writer: WriteBehind[Scored] = WriteBehind(recorder.add, _DEPTH)
        try:
            for prepared, share in reader:
                scored = predictor.predict(prepared)
                self._stop_at_bad(scored)
                writer.put(scored)
                if progress is not None:
                    done = prepared.batch.first + prepared.batch.rows
                    progress.show(done, done / self._opened.rows if self._opened.rows else share)
            writer.finish()
            return undisturbed(lambda: recorder.finish(self._judged))
        except KeyboardInterrupt:
            reader.close()
            writer.finish()
            raise Interrupted(self._saved()) from None
        except ResultNotWrittenError as error:
            rows = recorder.saved
            if not rows:
                self._files.discard()
                raise
            raise ResultNotWrittenError(f"{error}; {rows} rows are safe, and --resume goes on after them") from error
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
        with reading(self._source):
            most = min(self._options.batch_rows, predictor.most_rows or self._options.batch_rows)
            batches = self._opened.batches(self._columns, done=self._recorder.done, most=most)
            for batch in batches:
                share = self._opened.share_read()
                self._watch.expect(self._opened.rows or (batch.first + batch.rows) / max(share, 1e-9))
                yield predictor.prepare(batch), share

    def _stop_at_bad(self, scored: Scored) -> None:
        if self._options.on_error != "stop" or not (scored.prepared.bad or scored.prepared.batch.lost):
            return
        row = bad_rows(scored, self._opened.notation)[0]
        stood = f": {row.text[:60]!r}" if row.text is not None else ""
        raise ScoreError(f"{self._source}, row {row.row}, {row.reason}{stood}")

    def _saved(self) -> int:
        """Keep what was done, and return how many rows that is."""
        if self._recorder.done:
            self._recorder.save()
        else:
            self._files.discard()
        return self._recorder.done

    def _judged(self) -> Drift:
        return self._watch.judged(self._reference)


def _reference(release: Path) -> ReferenceProfile | None:
    try:
        return decode_reference((release / "reference").read_bytes())
    except (FileNotFoundError, SketchError):
        return None


def _before(files: PartFiles, identity: Identity, tell: Callable[[str], None], *, resume: bool) -> Checkpoint | None:
    """Return the place to go on from, if that is wanted and there is one; else clear the ground."""
    found = files.read()
    if found is None:
        if resume:
            tell(f"there is no unfinished {files.out} to go on with: from the first row")
        return None
    if not resume:
        tell(f"an unfinished {files.out} of {found.done} rows is replaced; --resume would have gone on with it")
        files.checkpoint.unlink()
        return None
    difference = identity.difference(found.identity) and found.identity.difference(identity)
    if difference:
        raise ScoreError(
            f"--resume: {difference} is not as it was when {files.part} was begun; without --resume it is begun anew"
        )
    tell(f"goes on after {found.done} rows")
    return found
