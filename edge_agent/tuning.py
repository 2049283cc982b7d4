"""Tuning, as rules: which plans are worth a measurement on this device, and which of those measured is the best. Pure.

Plans differ in one thing at a time from the best so far: first the release's precisions, then threads, how far ONNX
Runtime rewrites the graph, and mapping the file. That is a dozen measurements and not hundreds; what it cannot find is
two changes that only help together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edge_agent.session_plan import Precision, SessionPlan

#: What two measurements of the same plan may lie apart.
NOISE = 0.05
#: Less memory than this is nobody's reason.
_MEMORY_NOISE_BYTES = 2 * 1024 * 1024
#: A plan that is slower by more than this is not measured again; nor are more plans than that.
_CLOSE, _CONTENDERS = 1.3, 4
#: Rows of the batches that are timed.
BATCHES = (4, 16, 64, 256)


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One plan, measured on this device.

    Attributes:
        reason: why it may not serve; None: its golden vectors hold.
        latency_p50_ms, latency_p99_ms: of one row alone.
        rows_per_s: rows in a batch -> rows a second; empty where rows are not batched.
        memory_bytes: what loading it and its largest batch took.
        difference: the largest from a golden output.
    """

    plan: SessionPlan
    reason: str | None = None
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    rows_per_s: dict[int, float] = {}
    memory_bytes: int = 0
    load_s: float = 0.0
    difference: float = 0.0

    @property
    def best_rate(self) -> float:
        """Most rows a second, in whatever batch."""
        alone = 1000 / self.latency_p50_ms if self.latency_p50_ms else 0.0
        return max((alone, *self.rows_per_s.values()))

    @property
    def cost(self) -> float:
        """Milliseconds by which plans are compared: of a row alone and of a row in its best batch, both alike."""
        return math.sqrt(self.latency_p50_ms * 1000 / self.best_rate) if self.best_rate else math.inf


class Bounds(msgspec.Struct, frozen=True):
    """What a plan must keep to: the release's promise for one row, and memory; None and 0: no limit."""

    latency_ms: float | None = None
    memory_bytes: int = 0

    def broken_by(self, found: Measured) -> str | None:
        """Return why a plan is beyond them, or None."""
        if self.latency_ms is not None and found.latency_p99_ms > self.latency_ms:
            return f"one row takes {found.latency_p99_ms:.3g} ms (p99), and {self.latency_ms:g} ms are promised"
        if self.memory_bytes and found.memory_bytes > self.memory_bytes:
            return f"it takes {found.memory_bytes >> 20} MiB, and {self.memory_bytes >> 20} MiB are allowed"
        return None


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """What may be varied.

    Attributes:
        threads: counts to try.
        precisions: of the release's graphs, float32 first.
        mapping: whether a file made on this device may be mapped.
    """

    threads: tuple[int, ...] = ()
    precisions: tuple[Precision, ...] = ("float32",)
    mapping: bool = False


def thread_counts(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4 ... and the most itself, largest first."""
    counts = {most} | {1 << power for power in range(most.bit_length()) if 1 << power < most}
    return tuple(sorted(counts, reverse=True))


#: In this order; each begins from the best plan so far.
STAGES = ("precision", "threads", "optimization", "mapping")


def variations(stage: str, best: SessionPlan, space: Space) -> list[SessionPlan]:
    """Return the plans of a stage that differ from the best so far; of `mapping` without the file, yet to be made."""
    change = msgspec.structs.replace
    if stage == "precision":
        return [change(best, precision=name) for name in space.precisions if name != best.precision]
    if stage == "threads":
        return [change(best, threads=count) for count in space.threads if count != best.threads]
    if stage == "optimization":
        return [change(best, optimization=level) for level in ("extended", "basic") if level != best.optimization]
    if stage == "mapping" and space.mapping:
        return [best, change(best, prepacked=False)]
    return []


def merged(measured: Iterable[Measured]) -> list[Measured]:
    """Return one measurement of each plan, the best of its own: what else the machine did only ever slowed it down."""
    found: dict[str, Measured] = {}
    for each in measured:
        before = found.setdefault(repr(each.plan), each)
        if each.reason is not None or before.reason is not None:
            found[repr(each.plan)] = before if before.reason is not None else each
        else:
            rates = {rows: max(rate, each.rows_per_s.get(rows, 0.0)) for rows, rate in before.rows_per_s.items()}
            found[repr(each.plan)] = msgspec.structs.replace(
                each,
                latency_p50_ms=min(each.latency_p50_ms, before.latency_p50_ms),
                latency_p99_ms=min(each.latency_p99_ms, before.latency_p99_ms),
                rows_per_s=rates,
                memory_bytes=min(each.memory_bytes, before.memory_bytes),
                load_s=min(each.load_s, before.load_s),
            )
    return list(found.values())


def contenders(measured: Sequence[Measured], bounds: Bounds) -> list[SessionPlan]:
    """Return the plans that a second measurement might put first, best first."""
    fit = [each for each in merged(measured) if each.reason is None and bounds.broken_by(each) is None]
    fit.sort(key=lambda each: each.cost)
    return [each.plan for each in fit if each.cost <= fit[0].cost * _CLOSE][:_CONTENDERS]


def choose(measured: Sequence[Measured], bounds: Bounds) -> Measured | None:
    """Return the best plan: within the bounds, quick, of those small, of those simple; None where none may serve.

    A graph of less precision counts only where it was measured smaller than the best of the whole one, and no slower.
    """
    fit = [found for found in merged(measured) if found.reason is None and bounds.broken_by(found) is None]
    whole = [found for found in fit if found.plan.precision == "float32"]
    standard = _best(whole)
    less = [found for found in fit if found.plan.precision != "float32" and _pays(found, standard)]
    return _best([*whole, *less])


def _pays(found: Measured, standard: Measured | None) -> bool:
    """Whether a graph of less precision is smaller and no slower than the best of float32, where that can serve."""
    if standard is None:
        return True
    smaller = found.memory_bytes < standard.memory_bytes * (1 - NOISE)
    return smaller and found.cost <= standard.cost


def _best(found: Sequence[Measured]) -> Measured | None:
    if not found:
        return None
    quick = min(each.cost for each in found) * (1 + NOISE)
    contenders = [each for each in found if each.cost <= quick]
    lean = min(each.memory_bytes for each in contenders)
    lean = max(int(lean * (1 + NOISE)), lean + _MEMORY_NOISE_BYTES)
    return min((each for each in contenders if each.memory_bytes <= lean), key=_complexity)


def _complexity(found: Measured) -> tuple[object, ...]:
    """What is simpler comes first: nothing made on this device, the whole graph, fewer threads."""
    plan = found.plan
    return (
        plan.mapped is not None,
        not plan.prepacked,
        plan.precision != "float32",
        plan.optimization != "all",
        plan.threads,
    )


def batch_limit(rows_per_s: Mapping[int, float]) -> int:
    """Return the rows above which a batch is slower a row; 0 where the largest that was measured is as quick as any."""
    if not rows_per_s:
        return 0
    enough = max(rows_per_s.values()) * (1 - NOISE)
    if rows_per_s[max(rows_per_s)] >= enough:
        return 0
    return max(size for size, rate in rows_per_s.items() if rate >= enough)


def settled(winner: Measured) -> SessionPlan:
    """Return the plan to serve by: the winner's, with its limit on batches."""
    return msgspec.structs.replace(winner.plan, max_batch=batch_limit(winner.rows_per_s))


def describe_plan(plan: SessionPlan) -> str:
    """Return what is particular about a plan, for a person."""
    threads = f"{plan.threads} thread{'s' if plan.threads != 1 else ''}"
    parts = [plan.precision, threads, f"optimization {plan.optimization}"]
    if plan.mapped is not None:
        parts.append("mapped")
    if not plan.prepacked:
        parts.append("not prepacked")
    if plan.max_batch:
        parts.append(f"batches up to {plan.max_batch}")
    return ", ".join(parts)


def explain(winner: Measured, standard: Measured, count: int) -> str:
    """Return why the winner of so many plans won, in one line; `standard` would have served without tuning."""
    chosen = f"{describe_plan(settled(winner))}: {_figures(winner)}"
    if winner.plan == standard.plan:
        return f"{chosen}; none of {count} plans is quicker or smaller by more than noise"
    return f"{chosen}; untuned: {standard.reason or _figures(standard)}; {count} plans measured"


def _figures(found: Measured) -> str:
    return f"{found.latency_p50_ms:.3g} ms a row alone, {found.best_rate:,.0f} rows/s, {found.memory_bytes >> 20} MiB"
