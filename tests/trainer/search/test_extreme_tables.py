"""Tables at the ends of what there is, through whole runs in processes: wider than long, five million rows, and
a hundred thousand categories."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.guardrails.check import check_table
from trainer.guardrails.rail import Guardrail
from trainer.report import decode_report
from trainer.row_sample import MOST_ROWS
from trainer.sdk.trained import TrainedModel
from trainer.search.division import LEAST_ROWS, divide_rows

MEGABYTE = 2**20
#: What a trial may take in these runs, and what a run and each of its processes stays under, libraries included.
TRIAL_MB, MOST_MB = 700, 1500

#: Trains, and prints the most memory that the run or one of its processes took, in kB.
RUN = """
import resource, sys
from pathlib import Path
from trainer.request import TrainRequest
from trainer.train import train
data, out, budget_s, memory = sys.argv[1:]
train(TrainRequest(Path(data), "y", "extreme", budget_s=float(budget_s), memory_bytes=int(memory)), Path(out))
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@dataclass(frozen=True)
class Done:
    """A run that came to its end."""

    out: Path
    manifest: Manifest
    rails: dict[str, Guardrail]
    peak_mb: float


def run(data: Path, root: Path, budget_s: int) -> Done:
    out = data.parent / "out"
    words = [sys.executable, "-c", RUN, data, out, str(budget_s), str(TRIAL_MB * MEGABYTE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    manifest = read_candidate(out)
    assert manifest.parity.passed
    rails = {rail.check: rail for rail in decode_report((out / "report.json").read_bytes()).guardrails}
    return Done(out, manifest, rails, int(done.stdout) / 1024)


@pytest.mark.slow
@pytest.mark.sample
def test_a_table_wider_than_long_gives_a_proven_model_with_a_budget_of_five_seconds(tmp_path: Path, root: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(50, 5000)).round(3), columns=[f"sensor {place}" for place in range(5000)])
    table["y"] = (3 * table["sensor 7"] + random.normal(0, 0.5, 50)).round(3)
    table.to_csv(tmp_path / "wide.csv", index=False)
    done = run(tmp_path / "wide.csv", root, 5)
    assert len(done.manifest.inputs) == 5000
    assert done.peak_mb < MOST_MB
    assert np.isfinite(TrainedModel(done.out).predict(table)).all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_five_million_rows_are_sampled_and_the_run_says_so(tmp_path: Path, root: Path) -> None:
    rows, random = 5_000_000, np.random.default_rng(0)
    heat, wear = (random.normal(50, 10, rows).round(1) for _ in range(2))
    y = heat - 2 * wear + random.normal(0, 1, rows)
    pyarrow.parquet.write_table(pa.table({"heat": heat, "wear": wear, "y": y.round(2)}), tmp_path / "long.parquet")
    done = run(tmp_path / "long.parquet", root, 20)
    assert done.peak_mb < MOST_MB
    long, budget = done.rails["long table"], done.rails["budget"]
    assert long.seen == (f"{rows} rows of 3 columns are more than are held in memory",)
    assert long.done.startswith(f"drew {MOST_ROWS} of them")
    assert budget.state == "alerted"
    assert budget.seen[0].endswith(" rows to learn from are too many for a budget of 20 s")
    recipe = done.manifest.lineage.recipe
    assert recipe is not None
    assert budget.done.startswith(f"learned from {recipe.rows} of them")
    new = pd.DataFrame({"heat": [30.0, 50.0, 70.0], "wear": [50.0, 50.0, 50.0]})
    np.testing.assert_allclose(TrainedModel(done.out).predict(new), [-70, -50, -30], atol=3)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_categories_are_an_input(tmp_path: Path, root: Path) -> None:
    many, random = 100_000, np.random.default_rng(0)
    parts = np.append(random.permutation(np.repeat(np.arange(many), 2)), np.zeros(20_000, dtype=int))
    heat = random.normal(size=len(parts)).round(3)
    y = heat + 5 * (parts == 0) + random.normal(0, 0.1, len(parts))
    table = pd.DataFrame({"part": [f"part {number}" for number in parts], "heat": heat, "y": y.round(3)})
    table.to_csv(tmp_path / "parts.csv", index=False)
    done = run(tmp_path / "parts.csv", root, 10)
    assert done.peak_mb < MOST_MB
    part = next(spec for spec in done.manifest.inputs if spec.name == "part")
    assert part.dtype == "string"
    assert part.categories is not None
    assert part.categories[0] == "part 0"
    assert len(part.categories) <= 64
    assert done.rails["many categories"].seen == (f"'part' has {many} different texts",)
    new = pd.DataFrame({"part": ["part 0", "part 77", "never seen", None], "heat": 0.0})
    known, *others = TrainedModel(done.out).predict(new).tolist()
    assert known == pytest.approx(5, abs=1)
    assert others == pytest.approx([0, 0, 0], abs=1)


def test_a_budget_that_is_too_short_for_the_rows_is_told_with_the_one_that_would_do() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(6000, 3)), columns=["heat", "wear", "y"])
    checked = check_table(table, "y", None)
    division, rails = divide_rows(checked, 60.0, 0, slow=100.0)
    every = 6000 - len(division.held_out)
    assert division.drawn is not None
    assert LEAST_ROWS * 0.8 <= division.drawn == len(division.learn) < every
    (rail,) = rails
    assert (rail.check, rail.state) == ("budget", "alerted")
    assert rail.seen == (f"{every} rows to learn from are too many for a budget of 60 s",)
    assert rail.done == f"learned from {division.drawn} of them, drawn by the seed"
    assert rail.override == f"--budget {int(np.ceil(60.0 * every / division.drawn))}s"
    assert divide_rows(checked, 60.0, 0)[1] == []
