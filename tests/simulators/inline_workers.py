"""Workers without processes: a call runs when somebody waits for it."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from trainer.fitting import one_thread
from trainer.workers import Ended, Failure


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
        with one_thread():
            value = call(self._material, *args)
        return [Ended(ticket, value, None, time.monotonic() - begun)]

    def stop(self, ticket: int) -> None:
        self._waiting.pop(ticket, None)

    def close(self) -> None:
        self._waiting.clear()


class FailingWorkers(InlineWorkers):
    """Workers in which calls for some families are short of memory, and which may seem busy for some looks."""

    def __init__(self, material: Any, failing: set[str], size: int = 1, busy: int = 0) -> None:
        super().__init__(material, size)
        self.failing, self.busy = failing, busy

    def wait(self, timeout_s: float) -> list[Ended]:
        self.busy -= 1
        if self.busy >= 0:
            return []
        for ticket, (_, args) in list(self._waiting.items()):
            if args[0] in self.failing:
                self.stop(ticket)
                return [Ended(ticket, None, Failure("memory", "it needs more memory than a worker may have"))]
        return super().wait(timeout_s)


class _NoNursery:
    def close(self) -> None:
        """Nothing was begun."""


def train_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `train` run its trials in this process: seconds less, where processes are not the point."""
    monkeypatch.setattr("trainer.train.warm_up", _NoNursery)
    monkeypatch.setattr("trainer.train.open_workers", lambda setup, **_: InlineWorkers(setup()))
