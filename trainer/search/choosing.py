"""From what a search found to one proven model within the limits, and what could have been released instead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from protocols.card import Front, Interpretable
from protocols.recipe import Member, Recipe
from trainer.errors import (
    ExportError,
    LimitsError,
    ParityError,
    RequestError,
    SearchFailedError,
    TrainerError,
)
from trainer.footprint import measure_footprint
from trainer.golden import golden_bytes
from trainer.graph.blend import write_graph
from trainer.graph.encoded import Array
from trainer.graph.featurizer import feature_names
from trainer.graphs import open_graph
from trainer.limits import UNLIMITED, Limits, Prefer, described
from trainer.metrics import Metric
from trainer.request import TrainRequest
from trainer.search.boards import Boards
from trainer.search.front import READABLE, Choice, choice_of, choices, front, ranked
from trainer.search.preparation import Prepared
from trainer.search.proving import Proven, Writer, fit_and_prove
from trainer.search.selection import Selected, of_fitted, select
from trainer.search.trial import Tried
from trainer.workers import Workers

#: Seconds that must be left for the fit and the proof of a model that is shown and not released.
READABLE_S = 1.0
#: Choices that are fitted and proven before a run gives up.
PROOFS = 4
#: Seconds that another fit may take, about, where the time is over.
HURRIED_S = 0.5


@dataclass(frozen=True, slots=True)
class Fitting:
    """What the last fits need: where they run, the seconds that are left for them, whom to tell, who writes graphs."""

    workers: Workers
    left_s: Callable[[], float] | None
    progress: Callable[[str, float], None]
    writer: Writer = write_graph

    def sooner(self, seconds: float) -> "Fitting":
        """Return the same with less time."""
        left_s = self.left_s
        return self if left_s is None else replace(self, left_s=lambda: left_s() - seconds)

    def is_over(self) -> bool:
        return self.left_s is not None and self.left_s() <= 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        offered: every choice, the least loss first.
        refused: why better ones were not taken.
    """

    trials: Sequence[Tried]
    offered: Sequence[Choice]
    choice: Choice
    selected: Selected
    proven: Proven
    refused: tuple[str, ...]
    metric: Metric

    def front(self) -> list[Choice]:
        """The choices that no other beats in everything, the one that is released among them."""
        kept = front(self.offered)
        return kept if any(one is self.choice for one in kept) else [self.choice, *kept]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier search came to, where another entry of its front is released now, without a search."""

    front: tuple[Front, ...]
    recipes: tuple[Recipe, ...]
    interpretable: Interpretable | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What there is to choose from: finished trials, and what they were to predict.

    Attributes:
        members: release the mean of these, in the order of the trials; None: whatever is best.
    """

    trials: Sequence[Tried]
    truth: Array
    metric: Metric
    members: tuple[Member, ...] | None = None


def choose(
    request: TrainRequest, prepared: Prepared, candidates: Candidates, fitting: Fitting, boards: Boards | None
) -> Found:
    """Fit and prove the best choice within the limits, or the next one.

    Raises:
        LimitsError: no choice is within the limits.
        RequestError: no board measured any, or none of them takes what was tried.
        SearchFailedError: none could be fitted on all rows.
        ParityError: none could be proven.
    """
    truth, metric = candidates.truth, candidates.metric
    limits, prefer = request.limits, request.prefer
    if candidates.members is not None:
        limits, prefer = UNLIMITED, "best"  # who names the members has seen what they take
        weights = [member.weight for member in candidates.members]
        fits = max(len(member.seeds) for member in candidates.members)
        offered = [choice_of(candidates.trials, weights, fits, truth, metric)]
    else:
        offered = choices(candidates.trials, truth, metric, prepared.division.fits, limits)
    waiting = ranked(offered, limits, prefer)
    if not waiting:
        raise _none_allowed(offered, limits, prefer)
    refused: list[str] = []
    unfitted: list[SearchFailedError] = []
    while waiting and len(refused) < PROOFS:
        choice = _next(waiting, len(refused), hurried=fitting.is_over())
        waiting = [one for one in waiting if one is not choice]
        selected = _selected(request, prepared, choice, truth)
        if candidates.members is not None:  # with what they settled and the fits that they had
            selected = replace(selected, recipe=msgspec.structs.replace(selected.recipe, members=candidates.members))
        try:
            proven = fit_recipe(prepared, selected.recipe, fitting.sooner(choice.write_s()))
        except (ExportError, ParityError, SearchFailedError) as error:
            refused.append(f"{choice.name}: {error}")
            unfitted += [error] if isinstance(error, SearchFailedError) else []
            continue
        if why := _beyond(limits, choice, prepared, proven, fitting, boards):
            refused.append(f"{choice.name}: {why}")
            waiting = [one for one in waiting if boards is None or boards.may_fit(one)]
            waiting = _as_grown(waiting, limits, len(proven.graph) / choice.size_bytes)
            continue
        selected = of_fitted(selected, choice, proven.recipe)
        return Found(candidates.trials, offered, choice, selected, proven, tuple(refused), metric)
    if unfitted and len(unfitted) == len(refused):
        raise unfitted[-1]
    if limits != UNLIMITED:
        raise LimitsError(limits, "; ".join(refused) or _nearest(offered, limits))
    if boards is not None and boards.figures:
        raise RequestError(
            f"no board takes a model that was tried ({'; '.join(refused)}): give --max-size or --max-memory, or leave "
            "--device out"
        )
    raise ParityError(f"no model passed the proof of its export: {'; '.join(refused)}")


def fit_recipe(prepared: Prepared, recipe: Recipe, fitting: Fitting) -> Proven:
    """Fit a recipe and prove it. Raises what `fit_and_prove` raises."""

    def told(done: int, of: int) -> None:
        fitting.progress(f"fitting and proving the best model: {done} of {of} fits", 0.8 + 0.1 * done / of)

    return fit_and_prove(
        prepared.checked,
        prepared.material,
        prepared.cases,
        recipe,
        fitting.workers,
        fitting.left_s,
        told,
        fitting.writer,
    )


def interpretable(found: Found) -> Interpretable | None:
    """The best model that a person can read whole, and what its accuracy costs against the best."""
    best = _readable(found)
    if best is None:
        return None
    least = min(one.loss for one in found.offered)
    return Interpretable(best.name, best.loss, least, (best.loss - least) / abs(least) if least else 0.0)


def readable_graph(
    request: TrainRequest, prepared: Prepared, candidates: Candidates, found: Found, fitting: Fitting
) -> bytes | None:
    """Return the graph of the best model that a person can read whole, for its shapes.

    None where time lacks for it, or where the released model is readable itself: the card's curves are its shapes then.
    """
    best = _readable(found)
    if best is None or found.choice.name in READABLE:
        return None
    if fitting.left_s is not None and fitting.left_s() < READABLE_S + best.fit_s():
        return None
    try:
        return fit_recipe(prepared, _selected(request, prepared, best, candidates.truth).recipe, fitting).graph
    except (ExportError, ParityError, SearchFailedError):
        return None


def _readable(found: Found) -> Choice | None:
    return min((one for one in found.offered if one.name in READABLE), key=lambda one: one.loss, default=None)


def shown_front(found: Found) -> tuple[Front, ...]:
    """The front as a card shows it."""
    return tuple(
        Front(one.name, one.loss, one.latency_ms, one.size_bytes, one.memory_bytes, one is found.choice)
        for one in found.front()
    )


def front_recipes(request: TrainRequest, prepared: Prepared, found: Found, truth: Array) -> tuple[Recipe, ...]:
    """The recipe of each entry of the front, in its order."""
    return tuple(_selected(request, prepared, one, truth).recipe for one in found.front())


def _selected(request: TrainRequest, prepared: Prepared, choice: Choice, truth: Array) -> Selected:
    division, classes = prepared.division, prepared.checked.target.classes
    return select(choice, truth, classes, request.costs, division.drawn, request.metric)


def _next(waiting: Sequence[Choice], refused: int, *, hurried: bool) -> Choice:
    """What is tried after so many that were refused.

    The best; in the end the simplest, since what one family cannot do may be in each of the best; and where the time is
    over, the best that is fitted in no time, or what is fitted soonest.
    """
    if refused and hurried:
        quickest = min(_seconds(one) for one in waiting)
        return next(one for one in waiting if _seconds(one) <= max(quickest, HURRIED_S))
    if refused == PROOFS - 1:
        return min(waiting, key=lambda one: (one.simplicity, one.risk))
    return waiting[0]


def _seconds(one: Choice) -> float:
    return one.fit_s() + one.write_s()


def _as_grown(waiting: Sequence[Choice], limits: Limits, grown: float) -> list[Choice]:
    """Those that are within the limits if their graphs, too, become so many times what the trials' own took.

    Where none is, the smallest is left.
    """
    within = [one for one in waiting if limits.allow(one.latency_ms, one.size_bytes * grown, one.memory_bytes)]
    return within or sorted(waiting, key=lambda one: one.size_bytes)[:1]


def _none_allowed(offered: Sequence[Choice], limits: Limits, prefer: Prefer) -> TrainerError:
    """Why no choice is allowed."""
    if prefer == "readable":
        readable = [one for one in offered if one.name in READABLE]
        if not readable:
            return RequestError(
                f"no model that a person can read whole ({' or '.join(READABLE)}) was found: search longer, or leave "
                "--prefer readable out"
            )
        offered = readable
    return LimitsError(limits, _nearest(offered, limits))


def _nearest(offered: Sequence[Choice], limits: Limits) -> str:
    if not offered:
        return "none was found"
    nearest = min(
        offered,
        key=lambda one: (limits.times(one.latency_ms, one.size_bytes, one.memory_bytes), one.size_bytes),
    )
    return f"{nearest.name} with {described(nearest.latency_ms, nearest.size_bytes, nearest.memory_bytes)}"


def _beyond(
    limits: Limits, choice: Choice, prepared: Prepared, proven: Proven, fitting: Fitting, boards: Boards | None
) -> str | None:
    """Why the finished graph is beyond the limits, here or on a board; None where it is within."""
    if limits == UNLIMITED and boards is None:
        return None
    golden = golden_bytes(open_graph(proven.graph), feature_names(prepared.checked.features), prepared.cases)
    if boards is not None:
        fitting.progress("measuring on boards", 0.9)
        return boards.judge(proven.graph, golden, choice)
    here = measure_footprint(proven.graph, golden)
    if limits.allow(here.latency_p50_ms, len(proven.graph), here.memory_bytes):
        return None
    took = described(here.latency_p50_ms, len(proven.graph), here.memory_bytes)
    return f"takes {took}, and {limits} is allowed"
