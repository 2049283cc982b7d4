"""A cluster that is lost in the middle: what ran there runs here, and nothing is lost."""

from collections.abc import Callable
from typing import Any

import pytest
from simulators.inline_workers import InlineWorkers

from trainer.errors import WorkersLostError
from trainer.workers import Ended
from trainer.workers.lasting import LastingWorkers


class Cluster(InlineWorkers):
    """Answers so many calls, and is gone."""

    def __init__(self, answers: int) -> None:
        super().__init__(None)
        self.answers, self.closed = answers, False

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        if self.answers < 0:
            raise WorkersLostError("the scheduler is gone")
        return super().start(call, *args, limit_s=limit_s)

    def wait(self, timeout_s: float) -> list[Ended]:
        self.answers -= 1
        if self.answers < 0:
            raise WorkersLostError("the scheduler is gone")
        return super().wait(timeout_s)

    def close(self) -> None:
        self.closed = True


def double(material: object, number: int) -> int:
    return 2 * number


def drained(workers: LastingWorkers, tickets: list[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for _ in range(20):
        found |= {one.ticket: one.value for one in workers.wait(0.0)}
        if len(found) == len(tickets):
            break
    return found


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_every_call_is_answered_once_though_the_cluster_is_lost(answers: int) -> None:
    cluster, told = Cluster(answers), list[str]()
    workers = LastingWorkers(cluster, lambda: InlineWorkers(None), told.append)
    tickets = [workers.start(double, number) for number in range(5)]
    assert drained(workers, tickets) == {ticket: 2 * number for number, ticket in enumerate(tickets)}
    assert cluster.closed
    assert told == ["the scheduler is gone"]
    later = workers.start(double, 21)
    assert drained(workers, [later]) == {later: 42}


def test_a_call_that_was_taken_back_does_not_run_here_either() -> None:
    workers = LastingWorkers(Cluster(0), lambda: InlineWorkers(None), lambda text: None)
    kept, taken = workers.start(double, 1), workers.start(double, 2)
    workers.stop(taken)
    assert drained(workers, [kept]) == {kept: 2}


def test_workers_here_that_are_lost_too_end_the_run() -> None:
    workers = LastingWorkers(Cluster(0), lambda: Cluster(0), lambda text: None)
    workers.start(double, 1)
    assert workers.wait(0.0) == []
    with pytest.raises(WorkersLostError):
        workers.wait(0.0)
