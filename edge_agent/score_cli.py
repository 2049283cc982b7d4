"""`genba score`."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.cores import most_threads

OUT_FORMS = ("csv", "parquet", "jsonl", "sqlite")
FORMS = (*OUT_FORMS, "images")
_NAMES = ".csv .tsv .parquet .jsonl .sqlite, also .csv.gz .jsonl.gz"

#: Brings MODEL@VERSION from a registry (its URL) as a bundle, and returns where it lies.
Bring = Callable[[str, str], Path]


def score(argv: list[str], bring: Bring | None = None) -> int:
    """Score a file with a release, offline; say what proves the release."""
    from edge_agent.proof import proven
    from edge_agent.scoring import Interrupted, Options, score_file
    from edge_agent.scoring.progress import ProgressLine
    from edge_agent.scoring.requirements import check_places, faults_beside
    from edge_agent.scoring.summary import describe, summary_json
    from edge_agent.settings import AgentHome

    arguments = parser_of().parse_args(argv)
    options = Options(
        keep=arguments.keep,
        form=arguments.format,
        out_form=arguments.out_format,
        table=arguments.table,
        on_error=arguments.on_error,
        errors=arguments.errors,
        batch_rows=arguments.batch_rows,
        threads=arguments.threads,
        resume=arguments.resume,
        contributions=arguments.contributions,
    )
    faults = options.errors or faults_beside(arguments.out)
    check_places(arguments.input, arguments.out, faults, arguments.summary)
    release, home = arguments.release, AgentHome(arguments.home) if arguments.home else None
    registry = ""
    if arguments.registry and bring and "@" in release and not Path(release).exists():
        registry = arguments.registry
        release = str(bring(registry, release))
    progress = ProgressLine(sys.stderr, time.monotonic)
    try:
        with proven(release, home, registry) as found:
            summary = score_file(found.folder, arguments.input, arguments.out, options, tell=_tell, progress=progress)
    except Interrupted as interrupted:
        kept = f"{interrupted.rows} rows are kept; the same command with --resume goes on" if interrupted.rows else ""
        _tell(f"genba: interrupted; {kept or 'nothing was written'}")
        return 130
    _tell(found.note)
    print("\n".join(describe(summary, options.on_error)))
    if arguments.summary:
        _write_summary(arguments.summary, summary_json(summary))
    if summary.none_scored:
        _tell(f"genba: none of the {summary.rows} rows of {arguments.input} could be scored; {summary.faults} says why")
    return 1 if summary.none_scored else 0


def _write_summary(path: Path, data: bytes) -> None:
    from edge_agent.disk import write_atomic
    from edge_agent.errors import ScoreError

    try:
        write_atomic(path, data)
    except OSError as error:
        raise ScoreError(f"--summary {path}: {error.strerror}; the result itself is whole") from error


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def parser_of() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(prog="genba score", description="score a file with a release, offline")
    parser.add_argument(
        "release", help="a candidate's folder, a bundle, or MODEL@VERSION or MODEL@latest with --home or --registry"
    )
    parser.add_argument("input", type=Path, help=f"a folder of images, or a table by its name: {_NAMES}")
    parser.add_argument("--out", type=Path, required=True, help="a table, by its name")
    parser.add_argument("--home", type=_folder, help="an agent's home: its releases, and the root that it trusts")
    parser.add_argument("--registry", metavar="URL", help="where to fetch the release; the API token is in GENBA_TOKEN")
    parser.add_argument("--keep", nargs="+", metavar="COL", help="input columns to copy; default all")
    parser.add_argument("--format", choices=FORMS, help="what the input is, where its name does not say it")
    parser.add_argument("--out-format", choices=OUT_FORMS, help="what the result is, where its name does not say it")
    parser.add_argument("--table", metavar="NAME", help="of a SQLite database; default its only one")
    parser.add_argument(
        "--on-error", choices=("stop", "skip", "null"), default="stop",
        help="at a row that cannot be scored: stop (default), leave it out, or give it no prediction",
    )  # fmt: skip
    parser.add_argument("--errors", type=Path, metavar="FILE", help="where bad rows go; default OUT.errors.jsonl")
    parser.add_argument(
        "--contributions", action="store_true",
        help="write contribution_<input> too: what each input added, of a model whose graph tells it",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with a run that was interrupted or killed")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write what was done, with the drift, as JSON")
    parser.add_argument("--batch-rows", type=_count, default=16_384, metavar="N", help="rows at once; default 16384")
    parser.add_argument("--threads", type=_threads, default=0, metavar="N", help="default: every core it may use")
    return parser


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _threads(text: str) -> int:
    if _count(text) > most_threads():
        raise argparse.ArgumentTypeError(f"{text} threads are too many for this machine; give 1 to {most_threads()}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)
