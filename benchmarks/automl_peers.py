"""`genba train` beside FLAML and AutoGluon: the same seconds, the same split, the same two cores, the same metric.

Each peer comes from PyPI into an environment of its own under ~/.cache/genba (AutoGluon's takes some GB). A tool is a
child process that is given the training part alone; when it has ended, what it left answers the held-out rows. FLAML
runs with its defaults, AutoGluon with `medium_quality`; a peer's seconds are those that it is given to fit in, without
its imports, ours those of the whole command. Metric: log loss, where a probability counts as no less than 1.2e-7
(float32's epsilon) for every tool; RMSE. Best: the lowest mean over the seeds. Tied with the best: the mean of the
paired differences to it is at most one standard error of that mean over the seeds.

Each run is a line of the results file as soon as it ends. Started again, what the file has at the same version of the
tool is not run again; the tables take each tool's newest version. On a busy machine the peers' threads wait for each
other: judge by runs of a quiet one. One row's latency is that of our graph in ONNX
Runtime, and of a peer's `predict_proba` or `predict` on a DataFrame of one row; medians of 200, warm, model in memory.
"""

import argparse
import datetime
import math
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _automl_tables as tables
import numpy as np
import pandas as pd
from _automl_results import Result, append, current, done, read
from _automl_sets import Split, budget_of, load, names_of, split
from _automl_tools import ROOT, TOOLS, ToolFailedError, answer, environment, learn, version_of

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genba"
#: float32's: our graphs answer in it, and no tool is to gain from more digits.
EPSILON = float(np.finfo(np.float32).eps)


def log_loss(truth: pd.Series, probabilities: pd.DataFrame) -> float:
    """Return the mean log loss; a class that has no column was given no probability."""
    given = probabilities.reindex(columns=sorted({*probabilities.columns, *truth}), fill_value=0.0)
    rows = given.to_numpy(float)
    rows = np.clip(rows / rows.sum(axis=1, keepdims=True), EPSILON, 1 - EPSILON)
    return float(-np.log(rows[np.arange(len(rows)), given.columns.get_indexer(truth)]).mean())


def rmse(truth: pd.Series, predictions: pd.DataFrame) -> float:
    return float(np.sqrt(np.mean((truth.to_numpy(float) - predictions["prediction"].to_numpy(float)) ** 2)))


def run(tool: str, part: Split, budget_s: float, cores: int) -> Result:
    """Have one tool learn and answer one split."""
    metric = "log_loss" if part.table.task == "classification" else "rmse"
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    common = (tool, version_of(tool), part.table.name, part.seed, budget_s, metric, os.getloadavg()[0], cores, at)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            watched = learn(tool, part, folder, budget_s, cores)
            answered = answer(tool, part, folder)
        except ToolFailedError as error:
            return Result(*common, error=str(error))
    value = (log_loss if metric == "log_loss" else rmse)(part.truth, answered.answers)
    if not np.isfinite(value):
        return Result(*common, error=f"{tool} answered with what is no number")
    return Result(
        *common, value, watched.wall_s, watched.cpu_s, watched.peak_bytes,
        answered.size_bytes, answered.latency_ms, answered.packages,
    )  # fmt: skip


def run_all(options: argparse.Namespace) -> None:
    """Run what the results file does not hold, a tool at a time."""
    prepare(options.cores)
    for tool in options.tools:
        environment(tool)
        have, number = done(read(options.results), options.most_load), version_of(tool)
        for name in options.sets:
            table, budget_s = load(name, options.data), options.budget or budget_of(name)
            for seed in options.seeds:
                if (tool, number, name, seed, budget_s) in have:
                    continue
                result = run(tool, split(table, seed), budget_s, options.cores)
                append(options.results, result)
                told = result.error or f"{result.metric} {result.value:.4f} in {result.wall_s:.1f} s"
                print(
                    f"{tool} on {name}, seed {seed}, {budget_s:g} s: {told} (load {result.load:.1f})", file=sys.stderr
                )


def prepare(cores: int) -> None:
    """Keep this process and its children to some of the machine's cores; stopped by SIGTERM, it ends its child too."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def show(results: Sequence[Result], tools: Sequence[str], sets: Sequence[str], seeds: Sequence[int]) -> None:
    """Print the tables of results that `current` returned."""
    chosen = [one for one in results if one.set in sets and one.seed in seeds and one.tool in tools]
    chosen.sort(key=lambda one: sets.index(one.set))
    for group in ("scikit-learn", "factory"):
        mine = [one for one in chosen if one.set in names_of(group)]
        if mine:
            tables.print_errors(f"{group} sets", mine, tools)
    tables.print_costs(chosen, tools)
    tables.print_set_costs(chosen, tools)
    for one in chosen:
        if one.error:
            print(f"{one.set}, seed {one.seed}: {one.error}")


def choose_sets(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Fill in the tables that are not named; refuse those that are not there."""
    factory = names_of("factory")
    options.sets = options.sets or names_of("scikit-learn") + (factory if options.full else [])
    away = [name for name in options.sets if name in factory and not (options.data / name).is_dir()]
    if away:
        parser.error(f"--data {options.data} does not hold {', '.join(away)}: name their folder, or other --sets")


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which tables are meant."""
    every = [*names_of("scikit-learn"), *names_of("factory")]
    parser.add_argument("--sets", nargs="+", choices=every, metavar="SET", help=f"default: the first six of {every}")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the factory sets")
    parser.add_argument("--cores", type=int, default=2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sets(parser)
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of the splits (default: 1)")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument(
        "--budget", type=float, metavar="S", help="default: 30 on scikit-learn's sets, 60 on the others"
    )
    parser.add_argument("--full", action="store_true", help="all sets, seeds 1 to 5 (some hours)")
    parser.add_argument("--results", type=Path, default=CACHE / "automl_peers.jsonl", metavar="FILE")
    parser.add_argument(
        "--most-load", type=float, default=math.inf, metavar="L",
        help="run again what began at a higher load average (a tool at work is 2 by itself)",
    )  # fmt: skip
    parser.add_argument("--show", action="store_true", help="run nothing, print what the results file holds")
    parser.add_argument("--ours", metavar="COMMIT", help="with --show: genba's runs at this commit, not the newest")
    options = parser.parse_args()
    if options.ours and not options.show:
        parser.error("--ours chooses among the runs that there are: it goes with --show")
    choose_sets(parser, options)
    options.seeds = options.seeds or ([1, 2, 3, 4, 5] if options.full else [1])
    if not options.show:
        run_all(options)
    show(current(read(options.results), options.ours), options.tools, options.sets, options.seeds)
