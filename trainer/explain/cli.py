"""The verb `genba explain`: why a release answers rows as it does, and what would have to change for another answer."""

import argparse
import csv
import io
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.train_options import seconds

if TYPE_CHECKING:
    from protocols.manifest import Manifest
    from trainer.explain.explained_rows import Rows
    from trainer.explain.levers import Goal

#: Finds a release (named, agent's home, registry) and yields its folder and a line on what proves it.
Proven = Callable[[str, Path | None, str | None], AbstractContextManager[tuple[Path, str]]]

#: Rows that are explained where neither a file nor a number of rows is asked for, and pairs of walks of each row.
ROWS, WALKS = 20, 128


def explain(argv: list[str], proven: Proven) -> int:
    """`genba explain`: contributions in words, or of every row into a file; with `--change` counterfactuals too."""
    parser = parser_of()
    given = parser.parse_args(argv)
    goals = [given.to is not None, given.below is not None, given.above is not None]
    if given.change and given.row is None:
        parser.error("--change is about one row: name it with --row N")
    if any(goals) and not given.change:
        parser.error("--to, --below and --above say what --change is for: name the columns that may change")
    from trainer.candidate import read_candidate
    from trainer.explain.explained_rows import read_rows
    from trainer.graphs import open_graph

    with proven(given.release, given.home, given.registry) as (folder, note):
        manifest = read_candidate(folder)
        rows = read_rows(folder, manifest, given.data, given.background)
        session = open_graph((folder / "model.onnx").read_bytes())
    end = time.monotonic() + float(given.time)

    def over() -> bool:
        return time.monotonic() > end

    _explain_rows(session, manifest, rows, given, over)
    if given.change:
        _tell_otherwise(session, manifest, rows, given, over)
    print(note)
    return 0


def _explain_rows(session: Any, manifest: "Manifest", rows: "Rows", given: Any, over: Callable[[], bool]) -> None:
    from trainer.explain.explained_rows import pick
    from trainer.explain.explanation import alarm_place
    from trainer.explain.explanation import explain as sample
    from trainer.explain.reasons import as_table, row_words
    from trainer.graphs import run_graph, to_feed

    count = len(rows.asked)
    wanted = range(min(count, given.rows or (count if given.out else ROWS)))
    if given.row is not None:
        _check_row(given.row, count)
        wanted = range(given.row - 1, given.row)
    chosen = pick(rows, wanted)
    alarm = alarm_place(manifest.lineage.recipe, manifest.classes)
    found = sample(session, rows.columns, chosen.asked, rows.usual, over, most=len(wanted), walks=WALKS, alarm=alarm)
    answers = run_graph(session, to_feed(rows.columns, found.rows))[0].reshape(-1).tolist()
    if given.out:
        _write(given.out, as_table(manifest, found, answers))
        print(f"{len(found.rows)} rows explained: {given.out}")
    else:
        shown = [f"{answer:.6g}" if isinstance(answer, float) else str(answer) for answer in answers]
        for place, answer in enumerate(shown):
            print("\n".join(row_words(manifest, rows, found, place, answer)))
    if not found.whole:
        print(
            f"the time ended first: {len(found.rows)} of {len(wanted)} rows; --time gives more, and more exact values"
        )


def _tell_otherwise(session: Any, manifest: "Manifest", rows: "Rows", given: Any, over: Callable[[], bool]) -> None:
    from trainer.explain.counterfactuals import counterfactuals
    from trainer.explain.reasons import otherwise_words

    row = {column.name: column.values[given.row - 1] for column in rows.columns}
    names = [name for text in given.change for name in _names(text, [column.name for column in rows.columns])]
    goal = _goal(session, manifest, rows, given)
    found = counterfactuals(session, manifest, row, names, goal, rows.columns, over)
    print("\n".join(otherwise_words(found, goal, names)))


def _goal(session: Any, manifest: "Manifest", rows: "Rows", given: Any) -> "Goal":
    """What is asked for; of classes, where none is named, the likeliest other one."""
    from trainer.errors import RequestError
    from trainer.explain.alternatives import likeliest_other
    from trainer.explain.levers import Goal

    if given.below is not None or given.above is not None:
        return Goal("at most", given.below) if given.below is not None else Goal("at least", given.above)
    if given.to is not None:
        return Goal("class", given.to)
    other = likeliest_other(session, manifest, rows.columns, given.row - 1)
    if other is None:
        raise RequestError("--change needs --below X or --above X: which number is wanted?")
    return Goal("class", other)


def _names(text: str, columns: list[str]) -> list[str]:
    """One column's name, or several with commas between; a name with a comma stands in quotes then."""
    if text in columns:
        return [text]
    return [name.strip() for name in next(csv.reader(io.StringIO(text), skipinitialspace=True), []) if name.strip()]


def _check_row(row: int, count: int) -> None:
    from trainer.errors import RequestError

    if row > count:
        raise RequestError(f"--row {row}: the file has {count} rows")


def _write(path: Path, table: Any) -> None:
    from trainer.errors import RequestError

    try:
        if path.suffix == ".parquet":
            table.to_parquet(path, index=False)
        elif path.suffix == ".jsonl":
            table.to_json(path, orient="records", lines=True, force_ascii=False)
        elif path.suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            raise RequestError(f"--out {path}: its name must end in .csv, .jsonl or .parquet")
    except OSError as error:
        raise RequestError(f"--out {path}: {error.strerror or error}") from error


def _count(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows above 0")
    return int(text)


def parser_of() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(
        prog="genba explain",
        description="Say why a release answers rows as it does: what each input adds to the prediction, or to the "
        "probability of the class that raises the alarm (where costs of mistakes were given; else the rarer class), "
        "compared with rows as usual (SHAP values, from the ONNX graph itself). With --change also what would have to "
        "change for another answer, within the ranges seen in training.",
    )
    parser.add_argument(
        "release", metavar="RELEASE", help="a candidate's folder, a bundle, or MODEL@VERSION with --home or --registry"
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="CSV or Parquet file with the model's inputs")
    parser.add_argument(
        "--rows", type=_count, metavar="N", help=f"explain the first N rows (default {ROWS}, with --out all)"
    )
    parser.add_argument("--row", type=_count, metavar="N", help="explain this row alone, counted from 1")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write every contribution: .csv, .jsonl or .parquet")
    parser.add_argument(
        "--change", action="append", default=[], metavar="COL,COL",
        help="inputs that may change, for another answer of --row; repeatable",
    )  # fmt: skip
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--to", metavar="CLASS", help="the answer that is wanted (default: the likeliest other class)")
    goal.add_argument("--below", type=float, metavar="X", help="a prediction of X or less is wanted")
    goal.add_argument("--above", type=float, metavar="X", help="a prediction of X or more is wanted")
    parser.add_argument(
        "--background", type=Path, metavar="FILE",
        help="table whose rows stand for 'as usual' (default: held-out rows that travel with the release)",
    )  # fmt: skip
    parser.add_argument("--time", type=seconds, default=30.0, metavar="TIME", help="time limit (default 30s)")
    parser.add_argument("--home", type=Path, metavar="HOME", help="an agent's home: its releases, and its trusted root")
    parser.add_argument("--registry", metavar="URL", help="where to fetch the release; the API token is in GENBA_TOKEN")
    return parser
