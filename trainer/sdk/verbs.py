"""The trainer's verbs in Python: what `import genba` offers of it, with the options of the command line as keywords."""

import contextlib
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

from protocols.manifest import Precision, Task
from protocols.measuring import MeasureGraph
from trainer.errors import RequestError
from trainer.import_request import ImportRequest
from trainer.imports import import_file
from trainer.limits import Costs, Limits, Prefer
from trainer.reproduction import Reproduction, choose_again, reproduce_release
from trainer.request import TrainRequest
from trainer.sdk.given import Tabular, bytes_of, milliseconds_of, names_of, seconds_of, table_of
from trainer.sdk.interruption import Interruption
from trainer.sdk.progress_line import ProgressLine
from trainer.sdk.registries import known
from trainer.sdk.trained import TrainedModel
from trainer.search.run_folder import telling_what_is_kept
from trainer.train import Progress
from trainer.train import train as run


def train(
    table: Tabular,
    target: str,
    *,
    model: str = "model",
    budget: float | str = "60s",
    task: Task | None = None,
    metric: str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    force: bool = False,
    trials: int | None = None,
    keep: str | Iterable[str] = (),
    drop: str | Iterable[str] = (),
    group: str | None = None,
    validate: Literal["newest", "random"] | None = None,
    fairness: str | Iterable[str] = (),
    quantise: str | Iterable[str] = (),
    variant_tolerance: float | None = None,
    false_alarm_cost: float | None = None,
    miss_cost: float | None = None,
    positive: str | None = None,
    max_latency: float | str | None = None,
    max_size: float | str | None = None,
    max_memory: float | str | None = None,
    prefer: Prefer = "best",
    device: str | None = None,
    registry: str | None = None,
    latency_limit: float | str | None = None,
    jobs: int | None = None,
    memory: float | str | None = None,
    dask: str | None = None,
    dask_insecure: bool = False,
    anew: bool = False,
    licence: str | None = None,
    author: str | None = None,
    progress: Progress | bool | None = None,
) -> TrainedModel:
    """Check a table, search for the best model within a time budget, prove its ONNX graph, and return it.

    Ctrl-C, or the notebook's stop button, ends the search, and the best model so far is finished.

    Args:
        table: a pandas DataFrame, anything that has `to_pandas`, a mapping of columns, or a CSV or Parquet file's path.
        target: the column to predict.
        model: its name in registry and topics.
        budget: for the whole run: seconds, or `60s`, `5m`, `1h`.
        task: `classification` or `regression`; None: what the target looks like.
        metric: what is made as good as can be; None: log_loss, or rmse.
        seed: of split, search and models.
        out: folder of the candidate; None: a temporary one that lasts as long as the model.
        force: an earlier candidate in `out` is replaced.
        trials: try exactly so many models and let no clock decide; the same call then gives the same model.
        keep, drop: columns that no check may drop, and columns to leave out.
        group: column that says which rows belong together: each group is learned from or held out.
        validate: hold out the newest rows, or rows at random; None: the checks decide.
        fairness: columns by whose groups the model is judged.
        quantise: precisions, int8 or float16, that the released model is made in besides.
        variant_tolerance: how far their outputs may lie from the model's, in the output's unit.
        false_alarm_cost, miss_cost: of two classes; the threshold is chosen so that mistakes cost least.
        positive: class that raises the alarm; None: the rarer one.
        max_latency, max_size, max_memory: what the device allows: milliseconds or `2ms`, bytes or `500kB`.
        prefer: which of the models within the limits is released: `best` (the least error), `readable`, `smallest`,
            `fastest`.
        device: judge the limits on enrolled devices of this kind: a name, a profile or a selector.
        registry: where they are enrolled; None: GENBA_REGISTRY.
        latency_limit: longest that one row may take on a device, which else refuses the release; None: `max_latency`.
        jobs: trials at once; None: one for each core.
        memory: that one trial may take: bytes, or `1GB`; None: a share of what is free.
        dask: run the trials on a Dask cluster: `tls://HOST:PORT`, or a scheduler's file.
        dask_insecure: let trials, which are code, travel in the clear to that cluster.
        anew: begin anew where a run that was killed has left its trials beside `out`.
        licence, author: to state in the release.
        progress: a function of text and share done; True, False: a line of text, or none; None: a line on a terminal
            and in a notebook.

    Raises:
        TableError: the data cannot be used; the text says why.
        RequestError, NameRefusedError, OutputRefusedError: an argument cannot be carried out.
        LimitsError: no model that was found is within the device's limits.
        ParityError: no model's export computes what the model computes.
    """
    begun = time.monotonic()
    limits = Limits(
        milliseconds_of("max_latency", max_latency), bytes_of("max_size", max_size), bytes_of("max_memory", max_memory)
    )
    request = TrainRequest(
        table=table if isinstance(table, str | Path) else table_of(table),
        target=target,
        model=model,
        task=task,
        budget_s=seconds_of("budget", budget),
        seed=seed,
        keep=names_of(keep),
        drop=names_of(drop),
        trials=trials,
        licence=licence,
        author=author,
        latency_limit_ms=milliseconds_of("latency_limit", latency_limit) or limits.latency_ms,
        group=group,
        validate=validate,
        metric=metric,
        costs=costs_of(false_alarm_cost, miss_cost, positive),
        limits=limits,
        prefer=prefer,
        workers=jobs,
        memory_bytes=bytes_of("memory", memory),
        anew=anew,
        dask=dask,
        dask_insecure=dask_insecure,
        fairness=names_of(fairness),
        quantise=cast("tuple[Precision, ...]", names_of(quantise)),
        variant_tolerance=variant_tolerance,
    )
    measure = None if device is None else _measuring(device, registry)
    with _folder(out) as (folder, keeper), _told(progress) as told, Interruption() as interruption:
        run(request, folder, told, force=force, measure=measure, interrupted=interruption.asked, begun=begun)
        return TrainedModel(folder, keeper)


def load(folder: Path | str) -> TrainedModel:
    """Return the model of a candidate's folder, such as `genba train --out` or `TrainedModel.save` made.

    Raises:
        CandidateError: it is none, or was edited.
    """
    return TrainedModel(folder)


def choose(
    candidate: TrainedModel | Path | str,
    entry: int,
    data: Path | str,
    *,
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress | bool | None = None,
) -> TrainedModel:
    """Return another entry of the front that training found, as a candidate of its own.

    Args:
        candidate: a model, or the folder of one.
        entry: its number in `TrainedModel.front`, from 1.
        data: the file that it was trained from.
        out, force, progress: as in `train`.

    Raises:
        CandidateError: there is no such entry.
        NotReproducedError: the data are others.
    """
    with _folder(out) as (folder, keeper), _told(progress) as told:
        choose_again(_folder_of(candidate), entry, Path(data), folder, told, force=force)
        return TrainedModel(folder, keeper)


def import_model(
    file: Path | str,
    sample: Tabular,
    *,
    model: str,
    target: str | None = None,
    trust: bool = False,
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress | bool | None = None,
    **options: Any,
) -> TrainedModel:
    """Turn a model of another maker into a candidate, proven against the original on the sample, and return it.

    Args:
        file: the model's file or folder.
        sample: a table of at least 20 rows as the model will see them; of an image model a folder of images.
        model: its name in registry and topics.
        target: column of the sample with the true values; the model is measured on them.
        trust: load a file that can hold code, which runs it; a UserWarning says so.
        out, force, progress: as in `train`.
        options: more of `trainer.import_request.ImportRequest`, such as `feeding` or `quantise`.

    Raises:
        ImportRefusedError: not a model that is taken, or one that does not match the sample.
        ParityError: the release's graph does not compute what the original does.
    """
    rows = sample if isinstance(sample, str | Path) else table_of(sample, "the sample")
    with _folder(out) as (folder, keeper), _told(progress) as told:
        request = ImportRequest(
            Path(file), Path(rows) if isinstance(rows, str) else rows, model, target, trusted=trust, **options
        )
        if request.may_run_code:
            warnings.warn(
                f"loading {file} runs the code of whoever made it, as trust=True allows",
                UserWarning,
                stacklevel=2,
            )
        import_file(request, folder, told, force=force)
        return TrainedModel(folder, keeper)


def reproduce(
    release: TrainedModel | Path | str, data: Path | str, *, progress: Progress | bool | None = None
) -> Reproduction:
    """Fit a release's recipe again on its data, and compare the digests of the two models.

    Args:
        release: a model, or the folder of a release or candidate.
        data: the file that it was trained from.

    Raises:
        NotReproducedError: it came out otherwise; the text says what differs.
    """
    with _told(progress) as told:
        return reproduce_release(_folder_of(release), Path(data), told)


def _folder_of(given: TrainedModel | Path | str) -> Path:
    return given.folder if isinstance(given, TrainedModel) else Path(given)


def costs_of(false_alarm: float | None, miss: float | None, positive: str | None) -> Costs | None:
    """Return what mistakes cost, or None. Raises RequestError where one belongs to another that is not given."""
    if false_alarm is not None and miss is not None:
        return Costs(float(false_alarm), float(miss), None if positive is None else str(positive))
    if (false_alarm, miss, positive) != (None, None, None):
        raise RequestError("false_alarm_cost and miss_cost belong together, and positive to both: give all, or none")
    return None


def _measuring(device: str, registry: str | None) -> MeasureGraph:
    """Return what has graphs measured on devices. Raises RequestError where no registry is named."""
    url = registry or os.environ.get("GENBA_REGISTRY")
    if not url:
        raise RequestError(
            f"device {device!r} needs a registry, where it is enrolled: give its URL, or set GENBA_REGISTRY"
        )
    return known().measuring(url, device)


@contextlib.contextmanager
def _folder(out: Path | str | None) -> Iterator[tuple[Path, Path | None]]:
    """Yield where a candidate goes, and the temporary folder around it, which is gone where nothing came of it."""
    if out is not None:
        with telling_what_is_kept(Path(out)):
            yield Path(out), None
        return
    keeper = Path(tempfile.mkdtemp(prefix="genba-model-"))
    try:
        yield keeper / "candidate", keeper
    except BaseException:
        shutil.rmtree(keeper, ignore_errors=True)
        raise


@contextlib.contextmanager
def _told(progress: Progress | bool | None) -> Iterator[Progress]:
    if callable(progress):
        yield progress
    elif progress is False:
        yield lambda text, share: None
    else:
        with ProgressLine(always=progress is True) as line:
            yield line
