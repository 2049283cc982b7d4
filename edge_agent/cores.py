"""How the models of a device share its cores: threads for each, and no more at work at once than there are cores."""

import os
import threading
from collections import deque

#: More threads for each core only wait for one another.
_THREADS_A_CORE = 4


def most_threads() -> int:
    """Return the most threads that a person may ask for on this machine."""
    return _THREADS_A_CORE * (os.cpu_count() or 1)


def share_cores(cores: int, models: int, most_threads: int) -> int:
    """Return the threads of each model's runs, so that all of them together take no more than the cores.

    Args:
        cores: that this process may use, container limits included.
        models: that are served on this device.
        most_threads: that the device's profile gives one model.
    """
    return max(1, min(most_threads, cores // max(1, models)))


class CoreGate:
    """Lets runs begin while their threads find cores; a run that needs more than there are goes alone. Thread-safe.

    They begin in the order in which they came: a wide run that many narrow ones overtook would never find its cores.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._busy = 0
        self._freed = threading.Condition(threading.Lock())
        self._waiting: deque[object] = deque()

    def has_room(self, threads: int) -> bool:
        """Whether a run with so many threads could begin at once."""
        return not self._waiting and self._fits(min(threads or self._cores, self._cores))

    def _fits(self, wanted: int) -> bool:
        return self._busy + wanted <= self._cores

    def enter(self, threads: int) -> None:
        """Hold so many cores; 0 stands for all of them, which is what ONNX Runtime takes when it is not told."""
        wanted = min(threads or self._cores, self._cores)
        with self._freed:
            if self._waiting or not self._fits(wanted):
                place = object()
                self._waiting.append(place)
                while self._waiting[0] is not place or not self._fits(wanted):
                    self._freed.wait()
                self._waiting.popleft()
                self._freed.notify_all()  # there may be room for the next one, too: it looks once this one has its own
            self._busy += wanted

    def enter_at_once(self, threads: int) -> bool:
        """Hold so many cores if they are free now; return whether they were."""
        with self._freed:
            if not self.has_room(threads):
                return False
            self._busy += min(threads or self._cores, self._cores)
            return True

    def leave(self, threads: int) -> None:
        """Give back what `enter` held."""
        with self._freed:
            self._busy -= min(threads or self._cores, self._cores)
            self._freed.notify_all()
