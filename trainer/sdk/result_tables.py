"""What a run found, as data frames: checks, models tried, models that nothing beats, what drives the prediction."""

import msgspec
import pandas as pd

from protocols.manifest import Manifest
from trainer.report import Report


def guardrails(report: Report) -> pd.DataFrame:
    """Return a line for each check: check, state (passed, done, alerted), seen, done, override."""
    rows = [(one.check, one.state, "; ".join(one.seen), one.done, one.override) for one in report.guardrails]
    return pd.DataFrame(rows, columns=["check", "state", "seen", "done", "override"])


def leaderboard(report: Report) -> pd.DataFrame:
    """Return a line for each model that was tried, the best first: loss (lower is better), family, parameters."""
    rows = [
        (one.loss, one.parameters.get("family"), _told({**one.parameters, "family": None})) for one in report.trials
    ]
    return pd.DataFrame(rows, columns=["loss", "family", "parameters"])


def front(report: Report) -> pd.DataFrame:
    """Return the models that none other beats in each of loss, latency (ms a row), size and memory (bytes).

    The index is the entry's number, from 1, by which `genba choose` releases it.
    """
    columns = ["name", "loss", "latency_ms", "size_bytes", "memory_bytes", "chosen"]
    rows = [] if report.card is None else [msgspec.structs.astuple(one) for one in report.card.front]
    return pd.DataFrame(rows, columns=columns, index=pd.RangeIndex(1, len(rows) + 1, name="entry"))


def importance(manifest: Manifest) -> pd.DataFrame:
    """Return the inputs, the most important first.

    `value` is the mean absolute contribution, of a regression in the target's unit, else of probability; `error` half
    of its 95 % interval; `direction` what the prediction does as the input rises.
    """
    rows = [(one.feature, one.value, one.error or float("nan"), one.direction) for one in manifest.importance]
    return pd.DataFrame(rows, columns=["feature", "value", "error", "direction"])


def _told(parameters: dict[str, str | int | float | bool | None]) -> str:
    shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in parameters.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)
