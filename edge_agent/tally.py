"""Counts that only rise, and how long things took: what a Prometheus histogram is made of."""

import bisect
from collections.abc import Sequence

#: Seconds: from what a small model takes on a good machine to what a person would call stuck.
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations:
    """How many took how long. One thread adds; another may read."""

    def __init__(self) -> None:
        #: By bound, each for itself; the last is for what took longer than all of them.
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def add_all(self, seconds: Sequence[float]) -> None:
        """Add many at once."""
        for each in seconds:
            self.counts[bisect.bisect_left(BOUNDS_S, each)] += 1
        self.sum_s += sum(seconds)


class CallTally:
    """What became of one model's calls over HTTP. Written by the endpoint's thread alone.

    `rows` were predicted, by `calls`; calls were `refused` for what was in them, and `failed` in the model. `missing`
    and `outside` count values: not measured, and beyond the range that was seen in training.
    """

    def __init__(self) -> None:
        self.calls = self.rows = self.refused = self.failed = self.missing = self.outside = 0
        self.durations = Durations()
