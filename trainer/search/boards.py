"""Limits judged on real boards: what a graph took there, and what that says of graphs that were not measured there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocols.measuring import DeviceFigures, MeasureGraph
from trainer.errors import RequestError
from trainer.limits import Limits, described
from trainer.search.front import Choice

#: What a board found wanting in a graph itself, so that a smaller or a faster one may still run there.
_OF_THE_GRAPH = frozenset({"fit", "load", "golden", "latency", "memory", "time"})


@dataclass(slots=True)
class Boards:
    """The boards of one run.

    Attributes:
        figures: of every graph that was measured, the last one last.
        slower: how many times longer a row takes on the slowest board than here, from the last graph; 1 before it.
        below_bytes: of choices: one of so many was refused by a board.
    """

    measure: MeasureGraph
    limits: Limits
    figures: list[DeviceFigures] = field(default_factory=list)
    slower: float = 1.0
    below_bytes: float = math.inf

    def may_fit(self, choice: Choice) -> bool:
        """Whether a choice, from what is known of the boards so far, can be within the limits."""
        return choice.size_bytes < self.below_bytes and self.limits.allow(
            choice.latency_ms * self.slower, choice.size_bytes, choice.memory_bytes
        )

    def judge(self, graph: bytes, golden: bytes, choice: Choice) -> str | None:
        """Have the graph of a choice measured, and return why it is beyond the limits or a board, or None.

        A board that was not heard of has no say where others measured.

        Raises:
            RequestError: no board measured or refused it; the text has each one's reason.
        """
        found = list(self.measure(graph, golden))
        self.figures += found
        refusals = [one for one in found if one.outcome == "refused" and one.check in _OF_THE_GRAPH]
        if refusals:
            self.below_bytes = min(self.below_bytes, choice.size_bytes)
            return "; ".join(f"{one.device} refuses it: {one.reason or one.check}" for one in refusals)
        told = [one for one in found if one.measured]
        if not told:
            reasons = "; ".join(f"{one.device}: {one.reason or one.outcome}" for one in found) or "there is none"
            raise RequestError(f"no board measured the model ({reasons}): see to the boards, or leave --device out")
        slowest = max(told, key=lambda one: one.latency_p50_ms or 0.0)
        latency = slowest.latency_p50_ms or 0.0
        self.slower = max(latency / choice.latency_ms, 1e-3) if choice.latency_ms > 0 else 1.0
        memory = max(one.memory_bytes or 0 for one in told)
        if self.limits.allow(latency, len(graph), memory):
            return None
        return f"takes {described(latency, len(graph), memory)} on {slowest.device}, and {self.limits} is allowed"


def figures_words(figures: Sequence[DeviceFigures]) -> list[str]:
    """One line a board, for a person."""
    lines = []
    for one in figures:
        if one.outcome != "measured":
            lines.append(f"{one.device} ({one.profile}): {one.outcome}, {one.reason}")
            continue
        memory = None if one.memory_bytes is None else float(one.memory_bytes)
        lines.append(f"{one.device} ({one.profile}): {described(one.latency_p50_ms, None, memory)} by {one.provider}")
    return lines
