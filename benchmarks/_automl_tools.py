"""The tools that are compared: where each lives, how it learns from a file, how it answers another.

A peer comes from PyPI into a virtual environment of its own under ~/.cache/genba; ours is this working tree.
"""

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from _automl_sets import Split
from _watched import Watched, watch

ROOT = Path(__file__).resolve().parents[1]
#: What each peer's environment holds. FLAML 2.8 wants pandas below 3. torch 2.13 is the newest that AutoGluon takes.
PEERS = {
    "flaml": ("2.8.0", ("flaml[automl,catboost]==2.8.0", "pandas<3")),
    "autogluon": ("1.6.3", ("torch==2.13.0", "autogluon.tabular[lightgbm,catboost,xgboost,fastai]==1.6.3")),
}
TOOLS = ("genba", *PEERS)
#: Seconds beyond its budget after which a tool is killed.
PATIENCE_S = 300.0


class ToolFailedError(Exception):
    """A tool did not learn, or did not answer each row."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model answers to the held-out rows, and what it costs.

    Attributes:
        answers: one row for each; a column for each class, or `prediction`.
        size_bytes: of the model as it would be deployed.
        latency_ms: of one row, in memory, warm; the median of 200.
        packages: the versions that made it.
    """

    answers: pd.DataFrame
    size_bytes: int
    latency_ms: float
    packages: dict[str, str]


def version_of(tool: str) -> str:
    """Return a peer's version, or for ours that of the trainer's last change."""
    if tool in PEERS:
        return PEERS[tool][0]
    commit = _git("log", "-1", "--format=%h", "--", "trainer", "pyproject.toml")
    changed = _git("status", "--porcelain", "--", "trainer", "pyproject.toml")
    return (commit or version("genba")) + ("+changed" if changed else "")


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return found.stdout.strip()


def environment(tool: str) -> Path:
    """Return a tool's interpreter; a peer's environment is made if it is not there."""
    if tool == "genba":
        return Path(sys.executable)
    number, needs = PEERS[tool]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "genba" / f"{tool}-{number}"
    python, done = folder / "bin" / "python", folder / ".installed"
    if not done.exists():
        print(f"installing {tool} {number} (once) ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--prefer-binary", *needs], check=True)
        done.touch()
    return python


def learn(tool: str, part: Split, folder: Path, budget_s: float, cores: int) -> Watched:
    """Have a tool learn in `folder`, which holds the training part and nothing else.

    Raises:
        ToolFailedError: it ended with an error, or was killed 300 s past its budget.
    """
    file, target = part.write_train(folder), part.table.target
    if tool == "genba":
        command = ["-m", "genba", "train", str(file), "--target", target, "--task", part.table.task]
        command += ["--budget", f"{budget_s:g}s", "--seed", str(part.seed), "--model", "bench"]
        command += ["--out", str(folder / "release")]
    else:
        command = [str(ROOT / "benchmarks" / "_automl_peer.py"), tool, "fit", str(file), "--target", target]
        command += ["--task", part.table.task, "--budget", str(budget_s), "--seed", str(part.seed)]
        command += ["--cores", str(cores)]
    watched = watch([str(environment(tool)), *command], folder, budget_s + PATIENCE_S, _variables())
    if watched.failure:
        raise ToolFailedError(f"{tool} did not learn: {watched.failure}")
    return watched


def answer(tool: str, part: Split, folder: Path) -> Answered:
    """Have what a tool has learned answer the held-out rows.

    Raises:
        ToolFailedError: it ended with an error, or answered another number of rows.
    """
    file, python = part.write_test(folder), str(environment(tool))
    if tool == "genba":
        release, out = str(folder / "release"), str(folder / "answers.csv")
        scored = [python, "-m", "genba", "score", release, str(file), "--out", out, "--keep"]
        commands = [[*scored, part.test.columns[0]], [python, str(ROOT / "benchmarks" / "_automl_graph.py"), release]]
    else:
        script = str(ROOT / "benchmarks" / "_automl_peer.py")
        commands = [[python, script, tool, "answer", str(file), "--task", part.table.task]]
    for command in commands:
        watched = watch(command, folder, PATIENCE_S, _variables())
        if watched.failure:
            raise ToolFailedError(f"{tool} did not answer: {watched.failure}")
    answers = pd.read_csv(folder / "answers.csv")
    if len(answers) != len(part.test):
        raise ToolFailedError(f"{tool} answered {len(answers)} rows of {len(part.test)}")
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return Answered(_plain(answers), **figures)


def _plain(answers: pd.DataFrame) -> pd.DataFrame:
    """Our file of answers has probabilities beside the prediction and a column of the input."""
    prefix = "probability_"
    probabilities = [name for name in answers.columns if name.startswith(prefix)]
    if probabilities:
        return answers[probabilities].rename(columns=lambda name: name.removeprefix(prefix))
    return answers[["prediction"]] if "prediction" in answers.columns else answers


def _variables() -> dict[str, str]:
    """The tree itself is imported, whatever is installed; no tool calls home."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "true"}
