"""A few threads for calls that would hold up the endpoint's own."""

import queue
import threading
from collections.abc import Callable

THREADS = 4
#: Calls that may wait or be at work; more are told to come again.
MOST_AT_ONCE = 64


class Workers:
    """Runs functions. The threads begin when first needed, and end with the process if one of them hangs."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        #: Jobs that wait or are at work.
        self.busy = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Have a job done; it must not raise. Returns whether there was room. To be called by one thread alone."""
        with self._lock:
            if self.busy >= MOST_AT_ONCE:
                return False
            self.busy += 1
            busy = self.busy
        if len(self._threads) < min(busy, THREADS):
            thread = threading.Thread(target=self._run, name=f"http-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)
        return True

    def stop(self) -> None:
        """End the threads once they have done what waits."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                del job  # while the next is waited for, it would hold on to its release
                with self._lock:
                    self.busy -= 1
