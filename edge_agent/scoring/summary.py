"""What a run has done, for a person and for a machine."""

import msgspec

from edge_agent.scoring.drift import Drift, OutputSummary
from protocols.drift import FeatureDrift

_SHOWN = 10


class Summary(msgspec.Struct, frozen=True):
    """One file that was scored.

    Attributes:
        rows: rows of the input.
        written: rows of the result.
        filling: rows that have no prediction, since they only filled a model's first window.
        bad: rows that could not be scored, by reason.
        seconds: spent at it, over all the runs that it took.
        resumed_at: rows that an earlier run had done already.
    """

    out: str
    release: str
    rows: int
    written: int
    filling: int
    bad: dict[str, int]
    faults: str | None
    seconds: float
    resumed_at: int
    drift: Drift

    @property
    def bad_rows(self) -> int:
        return sum(self.bad.values())

    @property
    def none_scored(self) -> bool:
        """Whether there were rows and every one of them was bad."""
        return 0 < self.rows == self.bad_rows

    @property
    def rows_a_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


def summary_json(summary: Summary) -> bytes:
    """Return the summary as a JSON document."""
    document = msgspec.to_builtins(summary) | {"rows_a_second": round(summary.rows_a_second, 1)}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def describe(summary: Summary, on_error: str) -> list[str]:
    """Return the summary as lines for a person; the first says what there is now."""
    if not summary.rows:
        return [f"no rows: the input has none, and {summary.out} has its columns alone"]
    scored = summary.rows - summary.bad_rows - summary.filling
    lines = [f"{scored} rows scored into {summary.out}"]
    if summary.rows_a_second:
        resumed = f", of which {summary.resumed_at} by an earlier run" if summary.resumed_at else ""
        rate = f"{summary.rows_a_second:.0f} a second, {summary.seconds:.1f} s"
        lines.append(f"{summary.rows} rows read, {rate}{resumed}")
    if summary.filling:
        lines.append(f"{summary.filling} rows have no prediction: they only filled the first window")
    if summary.bad:
        done = "left out" if on_error == "skip" else "given no prediction"
        lines.append(f"{summary.bad_rows} bad rows {done}; each is in {summary.faults}")
        lines += [f"  {count} x {reason}" for reason, count in _largest(summary.bad)]
    return lines + _drift_lines(summary)


def _drift_lines(summary: Summary) -> list[str]:
    drift = summary.drift
    lines = []
    if drift.features:
        looked = "" if drift.rows >= summary.rows - summary.bad_rows else f", by {drift.rows} rows drawn evenly"
        moved = drift.drifted
        counted = f"{len(moved)} of {len(drift.features)} inputs have drifted"
        lines.append(f"{counted} from what {summary.release} learned from{looked}")
        lines += [_moved(feature) for feature in sorted(moved, key=lambda each: -(each.psi or 0.0))[:_SHOWN]]
        lines += [f"  and {len(moved) - _SHOWN} more; --summary FILE has all"] if len(moved) > _SHOWN else []
    if drift.labels:
        total = sum(drift.labels.values())
        shares = ", ".join(f"{name} {count / total:.1%}" for name, count in _largest(drift.labels))
        lines.append(f"predictions: {shares}")
    elif drift.outputs:
        lines.append(f"predictions: {_spread(drift.outputs[0])}")
    return lines


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:_SHOWN]


def _moved(feature: FeatureDrift) -> str:
    return f"  {feature.feature}: {feature.reason}"


def _spread(output: OutputSummary) -> str:
    low, middle, high = output.quantiles
    moved = f"; they have drifted: {output.drift.reason}" if output.drift and output.drift.drifted else ""
    spread = f"from about {low:.4g} (5 %) over {middle:.4g} to {high:.4g} (95 %)"
    return f"mean {output.mean:.6g}, {spread}{moved}"
