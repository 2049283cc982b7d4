"""Workers without processes: a call runs when somebody waits for it."""

import time
from collections.abc import Callable
from typing import Any

from trainer.workers import Ended


class InlineWorkers:
    """One call at a time, in this process; nothing limits it."""

    def __init__(self, material: Any, size: int = 1) -> None:
        self.size = size
        self._material = material
        self._waiting: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._tickets = 0

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        self._tickets += 1
        self._waiting[self._tickets] = (call, args)
        return self._tickets

    def wait(self, timeout_s: float) -> list[Ended]:
        if not self._waiting:
            return []
        ticket = next(iter(self._waiting))
        call, args = self._waiting.pop(ticket)
        begun = time.monotonic()
        return [Ended(ticket, call(self._material, *args), None, time.monotonic() - begun)]

    def stop(self, ticket: int) -> None:
        self._waiting.pop(ticket, None)

    def close(self) -> None:
        self._waiting.clear()
