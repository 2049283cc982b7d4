"""Proofs go one after another beside all else; one that nobody wants any more ends, and nothing is told of it."""

import errno
import queue
import threading
from collections.abc import Callable
from typing import Any

from edge_agent.errors import ReleaseRefusedError
from edge_agent.lifecycle_events import Postponed, Prove, Proven, Proving, Refused
from edge_agent.preflight import PreflightReport
from edge_agent.prover import Prover
from protocols.names import ReleaseRef

ONE, TWO = (ReleaseRef("ccpp", version) for version in (1, 2))


class Bench:
    """Proves when it is told to; `proving` gets each release that begins."""

    def __init__(self) -> None:
        self.proving: queue.Queue[ReleaseRef] = queue.Queue()
        self.go = threading.Semaphore(0)
        self.verdict: Callable[[], PreflightReport] = lambda: PreflightReport(True)

    def prove(self, ref: ReleaseRef, allow_fallback: bool, cancelled: Callable[[], bool]) -> PreflightReport:
        self.proving.put(ref)
        while not self.go.acquire(timeout=0.01):
            if cancelled():
                return PreflightReport(False, "it is not wanted any more")
        return self.verdict()


class World:
    def __init__(self) -> None:
        self.bench = Bench()
        self.told: queue.Queue[Any] = queue.Queue()
        self.prover = Prover(self.bench.prove, self.told.put)

    def hear(self) -> Any:
        return self.told.get(timeout=5)

    def begun(self) -> ReleaseRef:
        return self.bench.proving.get(timeout=5)


def test_proofs_go_one_after_another() -> None:
    world = World()
    for ref in (ONE, TWO):
        world.prover.do(Prove(ref, 1, False))
    for ref in (ONE, TWO):
        assert world.hear() == Proving(ref, 1)
        assert world.begun() == ref
        assert world.told.empty()
        world.bench.go.release()
        assert isinstance(proven := world.hear(), Proven)
        assert proven.ref == ref


def test_a_thread_that_ended_for_want_of_work_is_followed_by_another() -> None:
    world = World()
    for attempt in (1, 2):
        world.prover.do(Prove(ONE, attempt, False))
        world.bench.go.release()
        assert world.hear() == Proving(ONE, attempt)
        assert isinstance(world.hear(), Proven)
        thread = world.prover._thread
        if thread is not None:
            thread.join(5)


def test_a_proof_that_nobody_wants_any_more_ends_and_nothing_is_told_of_it() -> None:
    world = World()
    world.prover.do(Prove(ONE, 1, False))
    world.prover.do(Prove(TWO, 1, False))
    assert world.hear() == Proving(ONE, 1)
    assert world.begun() == ONE
    world.prover.keep_only([TWO])
    assert world.hear() == Proving(TWO, 1), "of the first one, no verdict"
    world.bench.go.release()
    assert isinstance(world.hear(), Proven)


def test_a_proof_that_passes_after_it_was_called_off_is_not_told_either() -> None:
    world = World()
    begun, go = threading.Event(), threading.Event()

    def deaf(ref: ReleaseRef, allow_fallback: bool, cancelled: Callable[[], bool]) -> PreflightReport:
        begun.set()
        go.wait(5)
        return PreflightReport(True)

    prover = Prover(deaf, world.told.put)
    prover.do(Prove(ONE, 1, False))
    assert begun.wait(5)
    prover.keep_only([])
    go.set()
    prover.stop(5)
    assert world.hear() == Proving(ONE, 1)
    assert world.told.empty()


def test_one_that_waits_is_not_even_begun() -> None:
    world = World()
    world.prover.do(Prove(ONE, 1, False))
    world.prover.do(Prove(TWO, 1, False))
    assert world.begun() == ONE
    world.prover.keep_only([ONE])
    world.bench.go.release()
    world.prover.stop(5)
    assert world.bench.proving.empty()


def test_stop_ends_what_is_being_proven() -> None:
    world = World()
    world.prover.do(Prove(ONE, 1, False))
    assert world.begun() == ONE
    world.prover.stop(5)
    assert world.prover._thread is None
    assert world.hear() == Proving(ONE, 1)
    assert world.told.empty()


def test_a_release_that_does_not_fit_and_one_that_fails_are_refused() -> None:
    world = World()

    def does_not_fit() -> PreflightReport:
        raise ReleaseRefusedError("it does not fit")

    def broken() -> PreflightReport:
        raise ZeroDivisionError("a fault of ours")

    for verdict, reason in (
        (does_not_fit, "it does not fit"),
        (lambda: PreflightReport(False, "NaN", "golden"), "preflight: NaN"),
        (broken, "unforeseen: ZeroDivisionError('a fault of ours')"),
    ):
        world.bench.verdict = verdict
        world.bench.go.release()
        world.prover.do(Prove(ONE, 1, False))
        assert world.hear() == Proving(ONE, 1)
        assert isinstance(refused := world.hear(), Refused)
        assert refused.reason == reason
    world.prover.stop(5)
    assert world.prover.errors == 1


def test_a_proof_that_the_disk_did_not_let_through_is_put_off_and_not_refused() -> None:
    world = World()

    def full() -> PreflightReport:
        raise OSError(errno.ENOSPC, "No space left on device")

    world.bench.verdict = full
    world.bench.go.release()
    world.prover.do(Prove(ONE, 1, False))
    assert world.hear() == Proving(ONE, 1)
    assert isinstance(postponed := world.hear(), Postponed)
    assert "No space left on device" in postponed.reason
    world.prover.stop(5)
    assert world.prover.errors == 0
