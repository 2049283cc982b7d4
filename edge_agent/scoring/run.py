"""`genba score`: a file through a release's model, in batches, with no registry and no broker."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.cgroups import read_limits
from devices.probe import usable_cores
from edge_agent.errors import ScoreError
from edge_agent.inference import Model
from edge_agent.releases import read_release
from edge_agent.scoring.checkpoint import Checkpoint, Identity, PartFiles, fingerprint
from edge_agent.scoring.faults import OnError
from edge_agent.scoring.formats import form_of, open_source, reading
from edge_agent.scoring.pipeline import Job, Pipeline
from edge_agent.scoring.predictor import Predictor
from edge_agent.scoring.progress import ProgressLine
from edge_agent.scoring.recorder import writing
from edge_agent.scoring.requirements import check_places, checked_columns, faults_beside, named, proven_providers
from edge_agent.scoring.sources import Source
from edge_agent.scoring.summary import Summary
from edge_agent.session_plan import SessionPlan
from protocols.manifest import Manifest

Tell = Callable[[str], None]


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
        contributions: write what each input added, too; of a model whose graph tells it.
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
    contributions: bool = False
    checkpoint_s: float = 10.0


def score_file(
    release: Path,
    source: Path,
    out: Path,
    options: Options | None = None,
    *,
    tell: Tell = lambda text: None,
    progress: ProgressLine | None = None,
) -> Summary:
    """Write the kept columns of `source`, `prediction`, and for a classifier `probability_<class>`, to `out`.

    Args:
        source: a table, or a folder of images.
        tell: is given notices for a person, a line each.

    Raises:
        ReleaseDamagedError, ManifestError: the release folder is not what was signed.
        ScoreError: the file cannot be scored; the text names the column and the row. `out` is then left as it was.
        Interrupted: by Ctrl-C; what was done is kept for a run that goes on.
    """
    began = time.monotonic()
    options = options or Options()
    if not release.is_dir():
        raise ScoreError(f"{release} is not a release folder; give the folder that holds release.json and model.onnx")
    faults = options.errors or faults_beside(out)
    check_places(source, out, faults)
    form, out_form = form_of(source, options.form, "--format"), form_of(out, options.out_form, "--out-format")
    manifest = read_release(release)
    model = _model(release, manifest, options)
    opened = open_source(source, form, options.table)
    identity = _identity(source, opened, manifest, options, form, out_form)
    files = PartFiles(out, faults)
    with writing(files):
        files.lock()
    try:
        before = _before(files, identity, tell, resume=options.resume)
        if before is not None and before.summary is not None:
            files.publish(before)
            return before.summary
        job = Job(
            release, manifest, source, opened, files, identity, before, began, options.batch_rows, options.checkpoint_s
        )
        predictor = Predictor(model, manifest, opened.notation, before.memory if before else None)
        return Pipeline(job, progress).execute(predictor)
    finally:
        files.release()


def _model(release: Path, manifest: Manifest, options: Options) -> Model:
    threads = options.threads or usable_cores(read_limits())
    return Model(release, manifest, SessionPlan(providers=tuple(proven_providers(manifest)), threads=threads))


def _identity(source: Path, opened: Source, manifest: Manifest, options: Options, form: str, out_form: str) -> Identity:
    with reading(source):
        return Identity(
            input=str(source.resolve()),
            input_digest=fingerprint(source),
            release=named(manifest),
            model_digest=manifest.digest,
            form=form,
            out_form=out_form,
            table=options.table,
            keep=tuple(checked_columns(source, opened, manifest, options.keep, contributions=options.contributions)),
            on_error=options.on_error,
            contributions=options.contributions,
        )


def _before(files: PartFiles, identity: Identity, tell: Tell, *, resume: bool) -> Checkpoint | None:
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
