"""The last fit: the members of a choice on all rows, in workers, and what is at hand when the time is over."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from protocols.recipe import Member
from trainer.errors import SearchFailedError
from trainer.families import FAMILIES, Parameters, Settled
from trainer.graph.encoded import Array
from trainer.pieces import Piece, bag
from trainer.search.trial import LONGEST_S, Bench
from trainer.workers import Workers

LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model of all rows. `answers`: what it gives for each case, shape (rows, outputs)."""

    piece: Piece
    answers: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class FittedMember:
    """A member, its models as one piece, and the mean of what they give for each case."""

    member: Member
    piece: Piece
    answers: tuple[Array, ...]


def fit_one(bench: Bench, family_name: str, parameters: Parameters, settled: Settled, seed: int) -> Fitted:
    """Fit one model on all rows; run in a worker.

    Args:
        seed: added to the run's.
    """
    family, material = FAMILIES[family_name], bench.material
    _, rows, cases = bench.matrices.final(family.matrix)
    fitted = family.fit(parameters, settled, rows, None, material.shape, material.seed + seed)
    (model,), _ = family.settle([fitted], settled)
    return Fitted(model.piece(), tuple(model.predict(case).astype(np.float64) for case in cases))


def fit_members(
    workers: Workers,
    members: Sequence[Member],
    left_s: Callable[[], float] | None,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> list[FittedMember]:
    """Fit every member, the weightiest first, before any second fit of one; what is not done in time is left out.

    Args:
        left_s: asked for the seconds that are left; None: as long as it takes.
        progress: told how many fits of how many are done.

    Raises:
        SearchFailedError: none could be fitted.
    """
    every = [(place, number) for place, member in enumerate(members) for number in range(len(member.seeds))]
    every.sort(key=lambda job: (job[1], -members[job[0]].weight))
    jobs = [(place, members[place].seeds[number]) for place, number in every]
    tickets: dict[int, tuple[int, int]] = {}
    left = math.inf if left_s is None else left_s()
    limit = max(left, LONGEST_S) if math.isfinite(left) else None
    for place, seed in jobs:
        one = members[place]
        ticket = workers.start(fit_one, one.family, one.parameters, one.settled, seed, limit_s=limit)
        tickets[ticket] = (place, seed)
    done: dict[tuple[int, int], Fitted] = {}
    failures: list[str] = []
    while tickets and (left_s is None or left_s() > 0 or not done):
        for ended in workers.wait(LOOK_S):
            job = tickets.pop(ended.ticket, None)
            if job is None:
                continue
            if ended.failure is None:
                done[job] = ended.value
            else:
                failures.append(f"{members[job[0]].family}: {ended.failure.text}")
            progress(len(jobs) - len(tickets), len(jobs))
    for ticket in tickets:
        workers.stop(ticket)
    fitted = []
    for place, member in enumerate(members):
        mine = [job for job in jobs if job[0] == place and job in done]
        if mine:
            kept = msgspec.structs.replace(member, seeds=tuple(seed for _, seed in mine))
            fitted.append(_member(kept, [done[job] for job in mine]))
    if not fitted:
        raise SearchFailedError(failures)
    return fitted


def _member(member: Member, fits: Sequence[Fitted]) -> FittedMember:
    answers = tuple(np.mean(each, axis=0) for each in zip(*(fit.answers for fit in fits), strict=True))
    return FittedMember(member, bag([fit.piece for fit in fits]), answers)
