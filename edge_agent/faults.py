"""The last few different faults of a stream's messages, counted: enough for a person to see what is wrong with them."""

import re

from edge_agent.rejections import Rejection
from protocols.messages import Fault

FAULTS_KEPT = 5
TEXT_CHARS = 200
#: Faults that differ in what they quote, or in a number (a size, a place), are one.
_PARTICULAR = re.compile(r"b?'[^']*'|\d+(?:\.\d+)?")


class Faults:
    """Bounded: of more than `FAULTS_KEPT` different faults, the one that was last seen longest ago is forgotten.

    One thread adds; another may list.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Fault] = {}

    def add(self, rejection: Rejection, at: float) -> None:
        """Count one rejected message; the newest text of its kind is kept."""
        text = rejection.text[:TEXT_CHARS]
        key = (rejection.reason, _PARTICULAR.sub("#", text))
        before = self._found.pop(key, None)
        self._found[key] = Fault(rejection.reason, text, (before.count if before else 0) + 1, at)
        if len(self._found) > FAULTS_KEPT:
            del self._found[next(iter(self._found))]

    def listed(self) -> tuple[Fault, ...]:
        """Return them, the last seen first."""
        return tuple(reversed(list(self._found.values())))
