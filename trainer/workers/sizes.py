"""How many workers a machine bears, and how much memory each may have."""

import psutil

from devices.cgroups import read_limits
from devices.probe import usable_cores

#: Share of the free memory that calls may use together; the rest is the caller's and the page cache's.
SHARE = 0.8
#: No call is given less than this: scikit-learn itself needs some.
LEAST_BYTES = 256 * 1024 * 1024


def default_size() -> int:
    """Return how many cores the machine, its container and the affinity leave to this process, at least one."""
    return usable_cores(read_limits())


def default_memory_bytes(size: int) -> int:
    """Return what each of `size` workers may allocate: its share of what machine and container have left now."""
    limits = read_limits()
    free: int = psutil.virtual_memory().available
    if limits.memory_bytes is not None:
        free = min(free, max(0, limits.memory_bytes - limits.memory_used_bytes))
    return max(LEAST_BYTES, int(SHARE * free) // max(size, 1))
