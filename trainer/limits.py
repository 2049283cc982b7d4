"""What a device allows a model, and what mistakes cost: wishes of a run, without a library."""

from dataclasses import dataclass
from typing import Any

from protocols.manifest import Prefer

__all__ = ["UNLIMITED", "Costs", "Limits", "Prefer", "described"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device allows; None: anything."""

    latency_ms: float | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None

    def allow(self, latency_ms: float, size_bytes: float, memory_bytes: float) -> bool:
        return self.times(latency_ms, size_bytes, memory_bytes) <= 1.0

    def times(self, latency_ms: float, size_bytes: float, memory_bytes: float) -> float:
        """How many times the limit the worst of these figures is."""
        pairs = ((self.latency_ms, latency_ms), (self.size_bytes, size_bytes), (self.memory_bytes, memory_bytes))
        return max((value / limit for limit, value in pairs if limit is not None), default=0.0)

    def __str__(self) -> str:
        return described(self.latency_ms, self.size_bytes, self.memory_bytes)


#: Anything is allowed.
UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Costs:
    """What mistakes cost, in any one unit; `positive` is the class that raises an alarm, None: the rarer one."""

    false_alarm: float
    miss: float
    positive: str | None = None

    def a_row(self, false_alarms: Any, misses: Any, positives: int, negatives: int) -> Any:
        """What so many mistakes cost, for each of the rows."""
        return (self.false_alarm * false_alarms + self.miss * misses) / (positives + negatives)


def described(latency_ms: float | None, size_bytes: float | None, memory_bytes: float | None) -> str:
    """Return the figures that are given, as a person reads them."""
    parts = []
    if latency_ms is not None:
        parts.append(f"{latency_ms:.3g} ms a row")
    if size_bytes is not None:
        parts.append(f"{size_bytes / 1000:.3g} kB")
    if memory_bytes is not None:
        parts.append(f"{memory_bytes / 1e6:.3g} MB of memory")
    return ", ".join(parts)
