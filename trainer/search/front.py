"""What a search may release: single models and means of several, what each costs on a device, and which is chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.families import FAMILIES
from trainer.graph.encoded import Array
from trainer.limits import UNLIMITED, Limits, Prefer
from trainer.metrics import Metric
from trainer.search.ensembling import best_means, mean_output
from trainer.search.trial import Tried

#: What a choice must lose less to be worth twice the bytes, as a share of the loss, and bytes that nobody minds.
DOUBLING, FREE_BYTES = 3e-3, 250_000
#: What the mean of several fits loses less than one fit does, about, as a share of the loss; trials are single fits.
FITS_GAIN = 3e-3
#: Families that a person can read whole.
READABLE = ("linear", "additive")
#: Trials that an ensemble is chosen from, and of one family at most.
POOL, POOL_OF_FAMILY = 40, 12
#: Sizes of ensembles that are offered.
SIZES = (2, 3, 5, 8)
#: A trial that loses more than another of its family is offered by itself where it is so many times smaller.
SMALLER = 2.0
#: A simpler choice wins where it loses no more than this share of the loss.
TIE = 5e-4
#: Milliseconds that inputs, featurizer and outputs take; their bytes are those that a trial's own graph has besides.
GRAPH_MS = 0.01
#: Seconds that a byte of a graph takes to be written, proven and measured, about; of small graphs that is nothing.
WRITE_S = 1.5e-7
#: Bytes of memory that a session takes, and each byte of trees (14 to 23) and of other models in it, at the least: what
#: seems within the limits is measured in the end.
SESSION_BYTES, TREE_MEMORY, OTHER_MEMORY = 10_000_000, 14.0, 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Something that could be released.

    Attributes:
        members: the trials in it.
        weights: of each; they add up to one.
        fits: of each member whose seed matters.
        loss: on rows not learned from, of single fits.
        risk: of that many fits, on rows that had no say in the choice either, as far as that is known: what choices
            compete by.
        latency_ms, size_bytes, memory_bytes: what it would take, from the trials' own graphs.
    """

    members: tuple[Tried, ...]
    weights: tuple[float, ...]
    fits: int
    loss: float
    risk: float
    latency_ms: float
    size_bytes: int
    memory_bytes: int

    @property
    def simplicity(self) -> tuple[int, int]:
        """Smaller is simpler."""
        return len(self.members), sum(FAMILIES[member.family].simplicity for member in self.members)

    @property
    def name(self) -> str:
        name = self.members[0].family if len(self.members) == 1 else f"mean of {len(self.members)}"
        return name if self.fits == 1 else f"{name}, {self.fits} fits"

    def fit_s(self, processors: int = 1) -> float:
        """Seconds that fitting it takes at the least, from what the trials took: one fit is on one processor."""
        counts = [self.fits if FAMILIES[member.family].several_fits else 1 for member in self.members]
        every = sum(member.fit_s * count for member, count in zip(self.members, counts, strict=True))
        return max([every / processors, *(member.fit_s for member in self.members)])

    def write_s(self) -> float:
        """Seconds that its graph takes longer than a small one to be written and proven."""
        return self.size_bytes * WRITE_S

    def seen(self) -> Array:
        return mean_output([member.seen for member in self.members], np.array(self.weights))

    def held_out(self) -> Array:
        return mean_output([member.held_out for member in self.members], np.array(self.weights))


def choices(
    tried: Sequence[Tried], truth: Array, metric: Metric, fits: int, limits: Limits = UNLIMITED, *, quick: bool = False
) -> list[Choice]:
    """Return every choice, the least loss first.

    Args:
        tried: finished trials.
        truth: of the rows that they predicted.
        fits: of a member whose seed matters; one of each is offered, too.
        limits: means are made of what is within them, besides those of the best.
        quick: for a first idea.
    """
    pool = _pool(tried)
    (alone,) = best_means([one.seen for one in pool], truth, metric, [1], quick=quick)
    found = [
        choice_of([one], [1.0], count, truth, metric, luck=alone.luck)
        for one in _singles(tried, limits)
        for count in _counts([one], fits)
    ]
    found += _means(pool, truth, metric, fits, quick=quick)
    within = _pool([one for one in tried if beyond(one, limits) <= 1.0])
    if len(within) > 1 and within != pool:
        known = {(one.members, one.fits) for one in found}
        found += [
            one for one in _means(within, truth, metric, fits, quick=quick) if (one.members, one.fits) not in known
        ]
    return sorted(found, key=lambda one: (one.loss, one.size_bytes))


def beyond(one: Tried, limits: Limits) -> float:
    """How many times what is allowed a trial's model takes by itself, as far as its own graph tells."""
    return limits.times(GRAPH_MS + one.latency_ms, one.size_bytes, SESSION_BYTES + _memory(one))


def front(found: Sequence[Choice]) -> list[Choice]:
    """Return the choices that no other beats in risk, latency, size and memory alike."""
    figures = np.array([[one.risk, one.latency_ms, one.size_bytes, one.memory_bytes] for one in found])
    return [
        one
        for one, mine in zip(found, figures, strict=True)
        if not ((figures <= mine).all(axis=1) & (figures < mine).any(axis=1)).any()
    ]


def ranked(found: Sequence[Choice], limits: Limits, prefer: Prefer = "best") -> list[Choice]:
    """Return the choices within the limits, that to be released first.

    The least risk wins, where what is larger must be worth its bytes; a simpler choice wins a tie.
    """
    allowed = [one for one in found if limits.allow(one.latency_ms, one.size_bytes, one.memory_bytes)]
    if prefer == "readable":
        allowed = [one for one in allowed if one.name in READABLE]
    if not allowed:
        return []
    if prefer == "smallest":
        return sorted(allowed, key=lambda one: (one.size_bytes, one.risk))
    if prefer == "fastest":
        return sorted(allowed, key=lambda one: (one.latency_ms, one.risk))
    share = abs(min(one.risk for one in allowed))

    def price(one: Choice) -> float:
        return one.risk + DOUBLING * share * math.log2(1 + one.size_bytes / FREE_BYTES)

    least = min(map(price, allowed))
    tied = [one for one in allowed if price(one) <= least + TIE * share]
    rest = [one for one in allowed if one not in tied]
    return [*sorted(tied, key=lambda one: (one.simplicity, price(one))), *sorted(rest, key=price)]


def _counts(members: Sequence[Tried], fits: int) -> list[int]:
    return sorted({1, fits}) if any(FAMILIES[member.family].several_fits for member in members) else [1]


def choice_of(
    members: Sequence[Tried],
    weights: Sequence[float],
    fits: int,
    truth: Array,
    metric: Metric,
    *,
    luck: float = 0.0,
) -> Choice:
    """Return a mean with what it would lose and cost: latency in ms, size and memory in bytes.

    Args:
        weights: of the members; they sum to 1.
        fits: of a member whose seed matters.
        truth: of the rows that the members predicted.
        luck: what the loss of the best of many is too low by.
    """
    counts = [fits if FAMILIES[member.family].several_fits else 1 for member in members]
    size = sum(member.size_bytes * count for member, count in zip(members, counts, strict=True))
    # Several fits are one piece: the second and further ones cost less than the first.
    latency = GRAPH_MS + sum(
        member.latency_ms * (1 + 0.4 * (count - 1)) for member, count in zip(members, counts, strict=True)
    )
    loss = metric.loss(truth, mean_output([member.seen for member in members], np.array(weights)))
    memory = SESSION_BYTES + sum(_memory(member) * count for member, count in zip(members, counts, strict=True))
    drawn = sum(weight for weight, count in zip(weights, counts, strict=True) if count > 1)
    risk = loss + luck - FITS_GAIN * abs(loss) * drawn
    return Choice(tuple(members), tuple(weights), fits, loss, risk, latency, size, int(memory))


def _means(pool: Sequence[Tried], truth: Array, metric: Metric, fits: int, *, quick: bool) -> list[Choice]:
    """The best mean of each size."""
    found: list[Choice] = []
    known: set[tuple[int, ...]] = set()
    outputs = [one.seen for one in pool]
    for mean in best_means(outputs, truth, metric, SIZES, quick=quick) if len(pool) > 1 else ():
        places = [int(place) for place in np.flatnonzero(mean.weights)]
        if len(places) > 1 and tuple(places) not in known:
            known.add(tuple(places))
            members, shares = [pool[place] for place in places], [float(mean.weights[place]) for place in places]
            found += [
                choice_of(members, shares, count, truth, metric, luck=mean.luck) for count in _counts(members, fits)
            ]
    return found


def _memory(one: Tried) -> float:
    return one.size_bytes * (TREE_MEMORY if FAMILIES[one.family].matrix == "raw" else OTHER_MEMORY)


def _pool(tried: Sequence[Tried]) -> list[Tried]:
    """The best trials, the simpler families first, so that they win ties; of equal settings one."""
    taken: dict[str, int] = {}
    pool: list[Tried] = []
    known: set[tuple[str, str]] = set()
    for one in sorted(tried, key=lambda one: (one.loss, one.size_bytes)):
        settings = one.family, repr(sorted(one.parameters.items()))
        if settings in known:
            continue
        known.add(settings)
        if taken.get(one.family, 0) < POOL_OF_FAMILY and len(pool) < POOL:
            taken[one.family] = taken.get(one.family, 0) + 1
            pool.append(one)
    return sorted(pool, key=lambda one: (FAMILIES[one.family].simplicity, one.loss))


def _singles(tried: Sequence[Tried], limits: Limits) -> list[Tried]:
    """Of each family the best trial, the best within the limits, and less good ones that are much smaller."""
    kept: dict[str, list[Tried]] = {}
    for one in sorted(tried, key=lambda one: (one.loss, one.size_bytes)):
        mine = kept.setdefault(one.family, [])
        first_within = beyond(one, limits) <= 1.0 and all(beyond(other, limits) > 1.0 for other in mine)
        if first_within or all(one.size_bytes * SMALLER <= other.size_bytes for other in mine):
            mine.append(one)
    return [one for family in kept.values() for one in family]
