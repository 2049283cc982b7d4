"""Results of several tools on the same splits: means, ranks, and who is best or tied with the best."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from _automl_results import Result
from scipy.stats import rankdata

#: A set's values: tool to seed to value; a run that failed is infinite.
Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Standing:
    """A tool on one set, over the seeds that all tools have.

    Attributes:
        rank: mean over the seeds of its rank among the tools; equal values share theirs.
        place: "best" by the mean; "tied": the mean of the paired differences to the best is within one standard error
            of them over the seeds (never with one seed alone); else "behind".
    """

    mean: float
    rank: float
    place: str


def common_seeds(values: Values) -> list[int]:
    return sorted(set.intersection(*(set(each) for each in values.values()))) if values else []


def standings(values: Values) -> dict[str, Standing]:
    """Return each tool's standing on one set; empty where no seed is common to all."""
    seeds = common_seeds(values)
    if not seeds:
        return {}
    ranks = [rankdata([values[tool][seed] for tool in values]) for seed in seeds]
    means = {tool: statistics.fmean(values[tool][seed] for seed in seeds) for tool in values}
    best = min(means, key=lambda tool: means[tool])
    return {
        tool: Standing(
            means[tool],
            statistics.fmean(rank[index] for rank in ranks),
            "best" if tool == best else _place([values[tool][seed] - values[best][seed] for seed in seeds]),
        )
        for index, tool in enumerate(values)
    }


def _place(differences: Sequence[float]) -> str:
    if not all(map(math.isfinite, differences)):
        return "behind"
    mean = statistics.fmean(differences)
    if mean == 0:
        return "tied"
    if len(differences) < 2:
        return "behind"
    return "tied" if mean <= statistics.stdev(differences) / math.sqrt(len(differences)) else "behind"


def by_set(results: Sequence[Result], tools: Sequence[str]) -> dict[tuple[str, float], dict[str, dict[int, Result]]]:
    """Return results by set and budget, tool, and seed."""
    found: dict[tuple[str, float], dict[str, dict[int, Result]]] = {}
    for one in results:
        if one.tool in tools:
            found.setdefault((one.set, one.budget_s), {tool: {} for tool in tools})[one.tool][one.seed] = one
    return found


def print_errors(title: str, results: Sequence[Result], tools: Sequence[str]) -> None:
    """Print a line for each set, and below them mean rank and places of each tool."""
    print(f"\n{title}: mean error on the held-out rows (log loss, RMSE); * best, = tied with the best")
    print(f"{'':22}{'budget':>8}{'seeds':>7}" + "".join(f"{tool:>16}" for tool in tools))
    judged: list[dict[str, Standing]] = []
    for (name, budget_s), runs in by_set(results, tools).items():
        present = {tool: runs[tool] for tool in tools if runs[tool]}
        values = {
            tool: {seed: math.inf if one.value is None else one.value for seed, one in each.items()}
            for tool, each in present.items()
        }
        found, seeds = standings(values), common_seeds(values)
        if len(present) == len(tools) and found:
            judged.append(found)
        cells = "".join(f"{_cell(found.get(tool)):>16}" for tool in tools)
        print(f"{name:22}{budget_s:6g} s{len(seeds):7}{cells}")
    if not judged:
        print("no set has a seed that every tool has run")
        return
    print(f"\nover the {len(judged)} sets that every tool has run (ranks by split; tied: see --help)")
    print(f"{'':14}{'mean rank':>11}{'best':>6}{'tied':>6}{'behind':>8}")
    for tool in tools:
        places = [each[tool].place for each in judged]
        rank = statistics.fmean(each[tool].rank for each in judged)
        best, tied, behind = (places.count(place) for place in ("best", "tied", "behind"))
        print(f"{tool:14}{rank:11.2f}{best:6}{tied:6}{behind:8}")


def _cell(standing: Standing | None) -> str:
    if standing is None:
        return "-"
    if math.isinf(standing.mean):
        return "failed"
    return f"{standing.mean:.4f}" + {"best": " *", "tied": " =", "behind": "  "}[standing.place]


def print_costs(results: Sequence[Result], tools: Sequence[str]) -> None:
    """Print what each tool's models cost, over all sets and seeds, and beside the first tool's."""
    print("\nwall time is of the whole child: start, reading, learning, saving. Model: medians over all runs")
    print("cores: processor time by wall time; where the load is above the cores, a tool had less than its share")
    print(
        f"{'':14}{'runs':>6}{'failed':>8}{'over budget, s':>16}{'most':>8}{'peak MB':>9}{'model kB':>11}"
        f"{'one row, ms':>13}{f'by {tools[0]}':>12}{'cores':>7}{'load':>7}"
    )
    first = {(one.set, one.seed, one.budget_s): one for one in results if one.tool == tools[0] and not one.error}
    for tool in tools:
        mine = [one for one in results if one.tool == tool]
        good = [one for one in mine if not one.error]
        if not good:
            print(f"{tool:14}{len(mine):6}{len(mine):8}")
            continue
        over = [one.wall_s - one.budget_s for one in good if one.wall_s is not None]
        beside = [
            one.latency_ms / first[key].latency_ms  # type: ignore[operator]
            for one in good
            if (key := (one.set, one.seed, one.budget_s)) in first
        ]
        print(
            f"{tool:14}{len(mine):6}{len(mine) - len(good):8}{statistics.median(over):16.1f}{max(over):8.1f}"
            f"{_median(good, 'peak_bytes') / 1e6:9,.0f}{_median(good, 'size_bytes') / 1e3:11,.0f}"
            f"{_median(good, 'latency_ms'):13.3f}"
            + (f"{statistics.median(beside):11.0f}x" if beside else f"{'-':>12}")
            + f"{statistics.median(one.cpu_s / one.wall_s for one in good):7.1f}"  # type: ignore[operator]
            + f"{statistics.fmean(one.load for one in good):7.1f}"
        )


def _median(results: Sequence[Result], name: str) -> float:
    return statistics.median(getattr(one, name) for one in results)


def print_set_costs(results: Sequence[Result], tools: Sequence[str]) -> None:
    """Print each set's model sizes and latencies, medians over the seeds."""
    print("\nmodel, kB / one row, ms")
    print(f"{'':22}{'budget':>8}" + "".join(f"{tool:>20}" for tool in tools))
    for (name, budget_s), runs in by_set(results, tools).items():
        cells = []
        for tool in tools:
            good = [one for one in runs[tool].values() if not one.error]
            cells.append(
                f"{_median(good, 'size_bytes') / 1e3:,.0f} / {_median(good, 'latency_ms'):.3f}" if good else "-"
            )
        print(f"{name:22}{budget_s:6g} s" + "".join(f"{cell:>20}" for cell in cells))
