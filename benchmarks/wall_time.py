"""How far `genba train` is past its budget when it ends, at 5, 30 and 60 s, measured from outside on the command.

The whole table is learned from, as a person would have it. The target is 2 s on every set; where a run is past it, the
exit status is 1. The load average says what else the machine did.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from _automl_sets import Table, load
from _automl_tools import ROOT
from _watched import Watched, watch
from automl_peers import add_sets, choose_sets, prepare

TARGET_S = 2.0


def measure(table: Table, budget_s: float) -> Watched:
    """Train on a whole table, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table.rows.to_csv(folder / "table.csv", index=False)
        command = [sys.executable, "-m", "genba", "train", "table.csv", "--target", table.target, "--task", table.task]
        command += ["--budget", f"{budget_s:g}s", "--model", "bench", "--out", "release"]
        return watch(command, folder, budget_s + 300, {**os.environ, "PYTHONPATH": str(ROOT)})


def main(options: argparse.Namespace) -> bool:
    """Print each set's row; return whether every run ended in time with a model."""
    prepare(options.cores)
    print(f"seconds past the budget, memory at its peak, load at the start (target: {TARGET_S:g} s)")
    print(f"{'':22}" + "".join(f"{f'{budget:g} s':>28}" for budget in options.budgets))
    worst, failures = -float("inf"), []
    for name in options.sets:
        table, cells = load(name, options.data), []
        for budget_s in options.budgets:
            busy, watched = os.getloadavg()[0], measure(table, budget_s)
            if watched.failure:
                failures.append(f"{name}, {budget_s:g} s: {watched.failure}")
            else:
                worst = max(worst, watched.wall_s - budget_s)
            past = "failed" if watched.failure else f"{watched.wall_s - budget_s:+.2f}"
            cells.append(f"{past}  {watched.peak_bytes / 1e6:,.0f} MB  {busy:.1f}")
        print(f"{name:22}" + "".join(f"{cell:>28}" for cell in cells), flush=True)
    print(f"most: {worst:+.2f} s past the budget; failed: {len(failures)}")
    for failure in failures:
        print(failure)
    return worst <= TARGET_S and not failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sets(parser)
    parser.add_argument("--budgets", nargs="+", type=float, metavar="S", help="default: 5 30")
    parser.add_argument("--full", action="store_true", help="all sets at 5, 30 and 60 s (half an hour)")
    options = parser.parse_args()
    choose_sets(parser, options)
    options.budgets = options.budgets or ([5.0, 30.0, 60.0] if options.full else [5.0, 30.0])
    sys.exit(0 if main(options) else 1)
