"""Results as JSON lines, one a run: appended at once, so that what was killed goes on, and days are joined."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """One tool on one split.

    Attributes:
        version: of the tool. Of one tool, lines of different versions are never mixed in a table.
        metric: log_loss or rmse, on the held-out rows. value: lower is better; None where it failed.
        wall_s: of learning, measured from outside. cpu_s: processor time of it, beside which wall_s shows what else
            the machine did. peak_bytes: most memory of all of its processes.
        size_bytes, latency_ms: of the model that it left.
        load: the machine's load average over a minute as the run began.
        error: why it failed; empty where it did not.
    """

    tool: str
    version: str
    set: str
    seed: int
    budget_s: float
    metric: str
    load: float
    cores: int
    at: str
    value: float | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_bytes: int | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    packages: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def key(self) -> tuple[str, str, str, int, float]:
        return self.tool, self.version, self.set, self.seed, self.budget_s


def append(file: Path, result: Result) -> None:
    """Add a line. One that a kill has cut short is ended first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torn = file.exists() and not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
    with file.open("a", encoding="utf-8") as out:
        out.write(("\n" if torn else "") + json.dumps(asdict(result)) + "\n")


def read(file: Path) -> list[Result]:
    """Return the lines in their order; those that are not whole are left out."""
    found = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else []:
        try:
            found.append(Result(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            continue
    return found


def done(results: Iterable[Result], most_load: float = math.inf) -> set[tuple[str, str, str, int, float]]:
    """Return what need not be run again; what failed, or began on a machine with more load, is tried again."""
    last = {result.key: result for result in results}
    return {key for key, result in last.items() if not result.error and result.load <= most_load}


def current(results: Iterable[Result], ours: str | None = None) -> list[Result]:
    """Return each tool's results at the version of its last line; the last of each split.

    Args:
        ours: version of genba whose results are wanted instead.
    """
    lines = [line for line in results if ours is None or line.tool != "genba" or line.version == ours]
    versions = {line.tool: line.version for line in lines}
    return list({line.key: line for line in lines if line.version == versions[line.tool]}.values())
