"""The verbs `genba train`, `genba import` and `genba reproduce`.

What they need is imported when they are called: `--help` and a wrong option answer at once, and a package that is
not installed escapes as ModuleNotFoundError, from which the front door makes a line about the extra.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.sdk.interruption import Interruption
from trainer.sdk.progress_line import ProgressLine
from trainer.train_options import add_limit_options, add_search_options, milliseconds

if TYPE_CHECKING:
    from protocols.measuring import MeasureGraph
    from trainer.request import TrainRequest

#: When the command began: its budget counts from here, what it imports included.
_BEGUN = time.monotonic()


def train(argv: list[str], measuring: Callable[[str, str], "MeasureGraph"] | None = None) -> int:
    """`genba train`: a table in, a release candidate out, and a summary on stdout.

    Args:
        measuring: of a registry's address and a kind of device, what has graphs measured there.
    """
    given = _train_parser().parse_args(argv)
    measure = None
    if given.device is not None:
        if not given.registry or measuring is None:
            return _usage("--device needs --registry URL, where the devices are enrolled")
        measure = measuring(given.registry, given.device)
    from trainer.candidate import check_output
    from trainer.request import check_request

    request = _train_request(given)
    check_request(request)
    check_output(given.out, force=given.force)
    from trainer.workers.nursery import warm_up

    nursery = warm_up()  # it imports what trials need, while this process imports what it needs itself
    from trainer.report import decode_report, describe
    from trainer.search.run_folder import telling_what_is_kept
    from trainer.train import train as run

    with telling_what_is_kept(given.out), ProgressLine() as progress, Interruption() as interruption:
        manifest = run(
            request,
            given.out,
            progress,
            force=given.force,
            measure=measure,
            interrupted=interruption.asked,
            begun=_BEGUN,
            nursery=nursery,
        )
    print(describe(decode_report((given.out / "report.json").read_bytes()), manifest))
    _tell_next(given.out)
    return 0


def _train_request(given: argparse.Namespace) -> "TrainRequest":
    from trainer.limits import Costs, Limits
    from trainer.precision.options import quantise_options
    from trainer.request import TrainRequest

    costs = None
    if given.false_alarm_cost is not None and given.miss_cost is not None:
        costs = Costs(given.false_alarm_cost, given.miss_cost, given.positive)
    elif (given.false_alarm_cost, given.miss_cost, given.positive) != (None, None, None):
        raise SystemExit(_usage("--false-alarm-cost and --miss-cost belong together, and --positive to both"))
    return TrainRequest(
        table=given.data,
        target=given.target,
        model=given.model,
        task=given.task,
        budget_s=given.budget,
        seed=given.seed,
        keep=tuple(given.keep),
        drop=tuple(given.drop),
        trials=given.trials,
        licence=given.licence,
        author=given.author,
        latency_limit_ms=given.latency_limit or given.max_latency,
        group=given.group,
        validate=given.validate,
        metric=given.metric,
        costs=costs,
        limits=Limits(given.max_latency, given.max_size, given.max_memory),
        prefer=given.prefer,
        workers=given.jobs,
        memory_bytes=given.memory,
        anew=given.anew,
        dask=given.dask,
        dask_insecure=given.dask_insecure,
        fairness=tuple(given.fairness),
        **quantise_options(given),
    )


def _usage(text: str) -> int:
    print(f"genba train: {text}; `genba train --help` explains them", file=sys.stderr)
    return 2


def import_model(argv: list[str]) -> int:
    """`genba import`: a model of another maker in, a release candidate out, and a summary on stdout."""
    given = _import_parser().parse_args(argv)
    from trainer.fed.options import feeding_of
    from trainer.import_request import ImportRequest
    from trainer.imports import import_file
    from trainer.precision.options import variant_options
    from trainer.report import decode_report, describe

    request = ImportRequest(
        file=given.file,
        sample=given.sample,
        model=given.model,
        target=given.target,
        trusted=given.trust,
        licence=given.licence,
        author=given.author,
        latency_limit_ms=given.latency_limit,
        feeding=feeding_of(given),
        **variant_options(given),
    )
    if request.may_run_code:
        print(f"genba: loading {given.file} runs the code of whoever made it, as --trust allows", file=sys.stderr)
    with ProgressLine() as progress:
        manifest = import_file(request, given.out, progress, force=given.force)
    print(describe(decode_report((given.out / "report.json").read_bytes()), manifest))
    _tell_next(given.out)
    return 0


def choose(argv: list[str]) -> int:
    """`genba choose`: another entry of a candidate's front, as a candidate of its own."""
    given = _choose_parser().parse_args(argv)
    from trainer.report import decode_report, describe
    from trainer.reproduction import choose_again

    with ProgressLine() as progress:
        manifest = choose_again(given.candidate, given.entry, given.data, given.out, progress, force=given.force)
    print(describe(decode_report((given.out / "report.json").read_bytes()), manifest))
    _tell_next(given.out)
    return 0


def reproduce(argv: list[str]) -> int:
    """`genba reproduce`: a release and its data in, the same digest out, or what differs."""
    given = _reproduce_parser().parse_args(argv)
    from trainer.reproduction import reproduce_release

    with ProgressLine() as progress:
        found = reproduce_release(given.release, given.data, progress)
    for line in found.differences:
        print(f"differs, and did not matter: {line}")
    print(f"reproduced: model.onnx has the digest {found.digest} again")
    return 0


def _tell_next(out: Path) -> None:
    registry = "" if os.environ.get("GENBA_REGISTRY") else " --registry URL"
    print(f"\ncandidate: {out}\nnext: genba publish {out}{registry}")


def _train_parser() -> argparse.ArgumentParser:
    from trainer.precision.options import add_quantise_options

    parser = argparse.ArgumentParser(
        prog="genba train",
        description="Check a table, search for the best model within a time budget, prove its ONNX graph, and write "
        "a release candidate. A run that was killed goes on where it was when the same command is given again. "
        "docs/operations/training.md explains the search and what comes out.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="CSV, CSV.gz or Parquet file with a header")
    parser.add_argument("--target", required=True, metavar="COL", help="column to predict")
    parser.add_argument(
        "--task",
        choices=["classification", "regression"],
        help="default: what the target looks like (text, or up to 10 whole numbers, are classes)",
    )
    parser.add_argument(
        "--keep", action="append", default=[], metavar="COL", help="column that no check may drop; repeatable"
    )
    parser.add_argument("--drop", action="append", default=[], metavar="COL", help="column to leave out; repeatable")
    parser.add_argument(
        "--group",
        metavar="COL",
        help="column that says which rows belong together (machine, batch): each group is learned from or held out",
    )
    parser.add_argument(
        "--validate",
        choices=["newest", "random"],
        help="which rows are held out; default: the newest where a time column or row counter shows that the process "
        "moves, else rows at random",
    )
    parser.add_argument(
        "--fairness", action="append", default=[], metavar="COL",
        help="column by whose groups the model is judged, learned from or not; repeatable",
    )  # fmt: skip
    _add_release_options(parser)
    add_search_options(parser)
    add_limit_options(parser)
    add_quantise_options(parser)
    return parser


def _reproduce_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba reproduce",
        description="Fit a release again by the recipe in its lineage, with its data and seed, and compare the "
        "digests of the two models. Exit status 1 where they differ, with what differs: data, libraries or Genba's "
        "version. The search itself is not run again, so it takes seconds.",
    )
    parser.add_argument("release", metavar="RELEASE", type=Path, help="release or candidate folder, with release.json")
    parser.add_argument("--data", required=True, metavar="FILE", type=Path, help="the table that it was trained from")
    return parser


def _choose_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba choose",
        description="Make a release candidate of another entry of the front that `genba train` found: smaller, "
        "quicker or easier to read than the one that it released. Its members are tried and fitted once more, without "
        "a search.",
    )
    parser.add_argument("candidate", metavar="CANDIDATE", type=Path, help="folder that `genba train` wrote")
    parser.add_argument("entry", metavar="ENTRY", type=int, help="number of the entry, as `genba train` listed it")
    parser.add_argument("--data", required=True, metavar="FILE", type=Path, help="the table that it was trained from")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the new candidate")
    parser.add_argument("--force", action="store_true", help="replace a candidate that --out holds already")
    return parser


def _import_parser() -> argparse.ArgumentParser:
    from trainer.fed.options import add_feeding_options
    from trainer.precision.options import add_variant_options

    parser = argparse.ArgumentParser(
        prog="genba import",
        description="Turn a model of another maker into a release candidate, proven against the original on the "
        "sample: ONNX, scikit-learn (skops, joblib, pickle), Keras, TensorFlow SavedModel, PyTorch, LightGBM, XGBoost, "
        "CatBoost, or an MLflow model folder. docs/operations/imports.md has an example of each.",
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path,
        help="model file or folder: .onnx, .skops, .joblib, .pkl, .keras, .h5, .pt2, .pt, .txt or .lgb (LightGBM), "
        ".json or .ubj (XGBoost), .cbm, a SavedModel folder, an MLflow folder",
    )  # fmt: skip
    parser.add_argument(
        "--sample", required=True, type=Path, metavar="DATA",
        help="at least 20 rows as the model will see them; of an image model a folder of at least 10 images",
    )  # fmt: skip
    parser.add_argument("--target", metavar="COL", help="column of the sample with the true values; it is measured")
    parser.add_argument(
        "--trust", action="store_true", help="load a file that holds code (pickles, Lambda layers), which runs it"
    )
    _add_release_options(parser)
    add_feeding_options(parser)
    add_variant_options(parser)
    return parser


def _add_release_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model in registry and topics")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the release candidate")
    parser.add_argument("--force", action="store_true", help="replace a candidate that --out holds already")
    parser.add_argument("--licence", metavar="TEXT", help="licence to state in the release")
    parser.add_argument("--author", metavar="TEXT", help="author to state in the release")
    parser.add_argument(
        "--latency-limit",
        type=milliseconds,
        metavar="MS",
        help="longest that one row may take on a device (p99); a device where it takes longer refuses the release",
    )
