"""How slow this machine is just now, beside the ordinary core that nominal costs are reckoned in."""

import time
from collections.abc import Callable

import numpy as np

#: Numbers sorted three times, and the seconds that it takes on an ordinary core with nothing else to do.
NUMBERS, ORDINARY_S = 300_000, 0.045
#: No machine is taken to be quicker than ordinary, or slower than this.
SLOWEST = 10.0


def slowness(timer: Callable[[], float] = time.monotonic) -> float:
    """Return how many times longer work takes than on an ordinary core, 1 to 10: it is slow, or others use it too."""
    numbers = np.random.default_rng(0).random(NUMBERS)
    begun = timer()
    for _ in range(3):
        np.sort(numbers)
    return float(np.clip((timer() - begun) / ORDINARY_S, 1.0, SLOWEST))
