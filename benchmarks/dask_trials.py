"""100 trials over a Dask cluster of two workers beside one: the same trials, seconds and the ratio.

Each Dask worker is a process with one thread, as `dask worker --nthreads 1` starts it; the table is 1,000 rows of
scikit-learn's make_friedman1. The figure says what the cores of this machine allow, so the same trials are also run by
two workers without Dask.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulators import trial_calls  # noqa: E402
from simulators.dask_cluster import DaskCluster  # noqa: E402

from trainer.request import TrainRequest  # noqa: E402
from trainer.search.material import save_material  # noqa: E402
from trainer.search.preparation import prepare  # noqa: E402
from trainer.search.trial import open_bench, try_out  # noqa: E402
from trainer.workers import FromFolder, LocalWorkers, Workers, open_workers  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = FromFolder(open_bench, made_material(folder / "table"))
        seconds: dict[str, list[float]] = {}
        for number in range(options.rounds):
            for workers in (1, 2):
                cluster = DaskCluster(folder / f"dask{number}{workers}", workers)
                try:
                    with open_workers(setup, dask=cluster.address) as opened:
                        seconds.setdefault(f"Dask, workers: {workers}", []).append(run(opened, options.trials, workers))
                finally:
                    cluster.close()
            with LocalWorkers(2, setup) as opened:
                seconds.setdefault("this process's own, workers: 2", []).append(run(opened, options.trials, 2))
    best = {name: min(taken) for name, taken in seconds.items()}
    for name, taken in best.items():
        print(f"{name:32} {taken:7.1f} s for {options.trials} trials   {options.trials / taken:6.1f} a second")
    one, two, own = best.values()
    print(f"two Dask workers beside one: {one / two:.2f}; two without Dask beside one with: {one / own:.2f}")


def made_material(folder: Path) -> Path:
    import pandas as pd
    from sklearn.datasets import make_friedman1

    inputs, target = make_friedman1(1000, noise=1.0, random_state=0)
    table = pd.DataFrame(inputs, columns=[f"x{index}" for index in range(inputs.shape[1])]).assign(y=target)
    save_material(folder, prepare(TrainRequest(table, "y", "friedman", budget_s=600)).material)
    return folder


def run(workers: Workers, trials: int, size: int) -> float:
    """Seconds of the trials, from when every worker has answered once."""
    ready: set[int] = set()
    while len(ready) < size or workers.size < size:
        for _ in range(2 * size):
            workers.start(trial_calls.process)
        ended = 0
        while ended < 2 * size:
            for one in workers.wait(60):
                ready.add(one.value)
                ended += 1
    begun = time.perf_counter()
    for number in range(trials):
        parameters = {"learning_rate": 0.1 + 0.001 * number, "leaves": 8, "min_leaf": 20, "l2": 0.1, "share": 1.0}
        workers.start(try_out, "boosted", parameters, "rmse", float("inf"))
    left = trials
    while left:
        for one in workers.wait(60):
            if one.failure is not None:
                raise SystemExit(f"a trial failed: {one.failure.text}")
            left -= 1
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
