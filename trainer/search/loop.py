"""The search: a portfolio first, then what TPE suggests, on workers that can be killed, until the time or the trials
are used up.

With a number of trials the same request tries the same models whatever the clock and however many workers there are,
if it begins anew: they are proposed in batches of one size and told in order. Without it the clock decides.

Source: Bergstra, Bardenet, Bengio, Kegl, "Algorithms for Hyper-Parameter Optimization" (TPE), as in Optuna.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from protocols.recipe import Member
from trainer.errors import SearchFailedError
from trainer.families import FAMILIES, Parameters, Shape
from trainer.graph.encoded import Array
from trainer.limits import Limits, Prefer
from trainer.metrics import Metric
from trainer.search.ensembling import DRAWS
from trainer.search.front import Choice, beyond, choices, ranked
from trainer.search.journal import Journal, Proposal
from trainer.search.trial import LONGEST_S, Tried, try_out
from trainer.workers import Ended, Workers

#: Proposals of one batch where the number of trials is given; whatever the number of workers.
BATCH = 4
#: Trials of a family from which on a new one must do better on its first fold than half of them did.
PRUNED_FROM = 3
#: How many times the median loss of all trials another start of a family may lose on its first fold.
STARTS_WORSE = 1.5
#: Settings in a row that would take too long, before the search ends.
SKIPS = 30
#: Trials that may fail before a run whose time is over gives up.
FIRST_TRIALS = 6
#: Seconds between two looks at the clock.
LOOK_S = 0.1
#: Room that fits get for taking longer with all rows and on a busy machine.
SLOWER = 1.5
#: Any of so many may be the best when all is known, and the share of the time that the last fits may take.
NEAR, REFIT_SHARE = 4, 0.3

#: Told what is being tried, and the share that is done, 0 to 1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search may use.

    Attributes:
        left_s: asked for the seconds until the last model must be fitted; None: as long as it takes.
        budget_s: of the search, for the share that is done.
        trials: exactly so many, if given.
        trial_s: seconds that one trial may take once there is a model, where the clock decides.
        fits: of each member whose seed matters, in the end.
        limits, prefer: of what is released, for the time that its fits will take.
        interrupted: asked whether a person wants it to end.
    """

    left_s: Callable[[], float] | None
    budget_s: float
    trials: int | None = None
    fits: int = 1
    trial_s: float = float("inf")
    limits: Limits = field(default_factory=Limits)
    prefer: Prefer = "best"
    interrupted: Callable[[], bool] = field(default=lambda: False)

    @property
    def guiding(self) -> Limits:
        """The limits that trials are steered by: not by the clock's, where the clock is to have no say."""
        return self.limits if self.trials is None else replace(self.limits, latency_ms=None)


@dataclass(slots=True)
class Search:
    """A search in progress.

    Attributes:
        truth: of the rows to validate on, fold after fold.
        failures: what went wrong in trials, one line each.
    """

    workers: Workers
    journal: Journal
    shape: Shape
    truth: Array
    metric: Metric
    plan: Plan
    progress: Progress
    failures: list[str] = field(default_factory=list)
    _running: dict[int, Proposal] = field(default_factory=dict)
    #: Families of which a trial ended after its first fold; where none ever finished, they are left alone.
    _ended_early: set[str] = field(default_factory=set)
    _made: int = 0
    _reserve_s: float = 0.0

    def run(self) -> list[Tried]:
        """Search, and return every finished trial.

        Raises:
            SearchFailedError: no trial gave a model.
        """
        if self.plan.trials is not None:
            self._by_number(self.plan.trials)
        else:
            self._by_clock()
        if not self.journal.finished:
            raise SearchFailedError(self.failures)
        return self.journal.finished

    def _by_number(self, trials: int) -> None:
        done = len(self.journal.finished)
        while done < trials and not self._is_enough():
            batch = [self._start() for _ in range(min(BATCH, trials - done))]
            ended: dict[int, Ended] = {}
            while len(ended) < len(batch) and not (
                self._is_enough() or (self.plan.interrupted() and _any_value(ended))
            ):
                ended |= {one.ticket: one for one in self.workers.wait(LOOK_S)}
            for ticket in batch:
                if ticket in ended:
                    self._take(ended[ticket])
                else:
                    self._give_up(ticket)
            done += len(batch)

    def _is_enough(self) -> bool:
        """Whether a person wants it to end, and something has come out."""
        return self.plan.interrupted() and bool(self.journal.finished)

    def _by_clock(self) -> None:
        skips = 0
        while self._goes_on() and self._made < MAX_TRIALS:
            while len(self._running) < self.workers.size and skips < SKIPS and self._may_start():
                skips = 0 if self._start_if_time() else skips + 1
            if not self._running:
                break
            for one in self.workers.wait(LOOK_S):
                self._take(one)
        for ticket in list(self._running):
            self._give_up(ticket)

    def _goes_on(self) -> bool:
        """Something must come out, also where the time is over, or a person wants an end, before the first trial is."""
        return self._is_timely() or (not self.journal.finished and (bool(self._running) or self._made < FIRST_TRIALS))

    def _may_start(self) -> bool:
        """When it should be over, one after the other until there is a model."""
        return self._is_timely() or (not self.journal.finished and not self._running and self._made < FIRST_TRIALS)

    def _is_timely(self) -> bool:
        return not self.plan.interrupted() and self._left_s() > 0

    def _left_s(self) -> float:
        """Seconds until the search must end, so that what it found can still be fitted."""
        return np.inf if self.plan.left_s is None else self.plan.left_s() - self._reserve_s

    def _start_if_time(self) -> bool:
        proposal = self.journal.propose(self._starts(), self.shape)
        spent = [one.fit_s * len(one.losses) for one in self.journal.finished if one.family == proposal.family]
        if not spent and proposal.family in self._ended_early:
            self.journal.prune(proposal)  # TPE is to look elsewhere
            return False
        if spent and float(np.median(spent)) > self._left_s():
            self.journal.fail(proposal)
            return False
        self._begin(proposal)
        return True

    def _start(self) -> int:
        return self._begin(self.journal.propose(self._starts(), self.shape))

    def _starts(self) -> list[tuple[str, Parameters]]:
        """What is tried first: after the first of each family, the families that did well come before the others."""
        best: dict[str, float] = {}
        for one in self.journal.finished:
            best[one.family] = min(one.loss or 0.0, best.get(one.family, np.inf))
        first, *later = waves(self.shape)
        return [*first, *(one for wave in later for one in sorted(wave, key=lambda one: best.get(one[0], np.inf)))]

    def _begin(self, proposal: Proposal) -> int:
        left = self._left_s()
        # The first must give something, however slow the machine is; what hangs must not.
        bounded = np.isfinite(left) and bool(self.journal.finished)
        limit = max(left, 0.1 if bounded else LONGEST_S) if np.isfinite(left) else None
        allowed = self.plan.trial_s if bounded else np.inf
        ticket = self.workers.start(
            try_out, proposal.family, proposal.parameters, self.metric.name, self._bar(proposal), allowed, limit_s=limit
        )
        self._running[ticket] = proposal
        self._made += 1
        self._tell(proposal)
        return ticket

    def _bar(self, proposal: Proposal) -> float:
        """The first fold's loss beyond which a trial is not worth the other folds.

        The first of a family may lose what it will, another start somewhat more than half of all trials did, and a
        drawn one as much as half of its family. Trials beyond the limits are no bar to smaller ones.
        """
        started = (proposal.family, proposal.parameters)
        first, *later = waves(self.shape)
        if started in first:
            return float(np.inf)
        every = any(started in wave for wave in later)
        known = [
            one.losses[0]
            for one in self.journal.finished
            if (every or one.family == proposal.family) and beyond(one, self.plan.guiding) <= 1.0
        ]
        if len(known) < PRUNED_FROM:
            return float(np.inf)
        return float(np.median(known)) * (STARTS_WORSE if every else 1.0)

    def _take(self, ended: Ended) -> None:
        proposal = self._running.pop(ended.ticket, None)
        if proposal is None:
            return
        if ended.failure is not None:
            self.journal.fail(proposal)
            self.failures.append(f"{proposal.family}: {ended.failure.text}")
            return
        self.journal.finish(proposal, ended.value)
        if ended.value.loss is None:
            self._ended_early.add(proposal.family)
        if self.plan.left_s is not None:
            self._reserve_s = self._refit_s()

    def _give_up(self, ticket: int) -> None:
        self.workers.stop(ticket)
        self.journal.fail(self._running.pop(ticket))

    def _refit_s(self) -> float:
        """Seconds that fitting and writing what may be released takes, as far as the trials so far tell."""
        if len(self.journal.finished) % 4 and self._reserve_s:
            return self._reserve_s
        begun = time.monotonic()
        found = choices(self.journal.finished, self.truth, self.metric, self.plan.fits, self.plan.limits, quick=True)
        choosing_s = DRAWS * (time.monotonic() - begun)
        near: dict[tuple[Tried, ...], Choice] = {}
        for one in ranked(found, self.plan.limits, self.plan.prefer) or found:
            near.setdefault(one.members, one)
        some = itertools.islice(near.values(), NEAR)
        longest = max(SLOWER * one.fit_s(self.workers.size) + one.write_s() for one in some)
        return min(longest + choosing_s, self.plan.budget_s * REFIT_SHARE)

    def _tell(self, proposal: Proposal) -> None:
        done = self._made / self.plan.trials if self.plan.trials else 1 - self._left_s() / self.plan.budget_s
        finished = self.journal.finished
        best = ""
        if finished:
            leader = min(finished, key=lambda one: (beyond(one, self.plan.guiding) > 1.0, one.loss))
            figure = self.metric.figure(leader.loss or 0.0)
            best = f", best so far {leader.family} with {self.metric.name} {figure:.4g}"
        self.progress(f"trial {self._made}: {proposal.family}{best}", float(np.clip(done, 0.0, 1.0)))


def try_members(workers: Workers, members: Sequence[Member], metric: Metric) -> list[Tried]:
    """Try settings that are known already, and return what each gives, in their order.

    Raises:
        SearchFailedError: one of them gives nothing.
    """
    tickets = {
        workers.start(try_out, one.family, one.parameters, metric.name, float(np.inf)): place
        for place, one in enumerate(members)
    }
    found: dict[int, Tried] = {}
    while len(found) < len(members):
        for ended in workers.wait(LOOK_S):
            if ended.failure is not None:
                raise SearchFailedError([f"{members[tickets[ended.ticket]].family}: {ended.failure.text}"])
            found[tickets[ended.ticket]] = ended.value
    return [found[place] for place in range(len(members))]


#: No search has more trials than this.
MAX_TRIALS = 2000


def _any_value(ended: dict[int, Ended]) -> bool:
    return any(one.failure is None for one in ended.values())


def waves(shape: Shape) -> list[list[tuple[str, Parameters]]]:
    """The best-known settings of each family, the second of each, and so on."""
    by_family = [[(name, one) for one in family.starts(shape)] for name, family in FAMILIES.items()]
    return [[one for one in wave if one is not None] for wave in itertools.zip_longest(*by_family)]
