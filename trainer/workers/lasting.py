"""Workers that outlive their cluster: where it is lost, what ran there runs here, and the run goes on."""

from collections.abc import Callable
from typing import Any

from trainer.errors import WorkersLostError
from trainer.workers.calls import Ended, Workers


class LastingWorkers:
    """A cluster, and what stands in for it. See `Workers` for the interface.

    Args:
        cluster: used while it is there.
        stand_in: makes the workers that take over.
        lost: told once why they did.
    """

    def __init__(self, cluster: Workers, stand_in: Callable[[], Workers], lost: Callable[[str], None]) -> None:
        self._workers, self._stand_in, self._lost = cluster, stand_in, lost
        self._cluster = True
        self._tickets = 0
        self._open: dict[int, tuple[Callable[..., Any], tuple[Any, ...], float | None]] = {}
        self._names: dict[int, int] = {}

    @property
    def size(self) -> int:
        return self._workers.size

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        ticket = self._tickets
        self._tickets += 1
        self._open[ticket] = (call, args, limit_s)
        try:
            self._names[self._workers.start(call, *args, limit_s=limit_s)] = ticket
        except WorkersLostError as error:
            self._take_over(error)
        return ticket

    def wait(self, timeout_s: float) -> list[Ended]:
        try:
            found = self._workers.wait(timeout_s)
        except WorkersLostError as error:
            self._take_over(error)
            return []
        ended = []
        for one in found:
            ticket = self._names.pop(one.ticket, None)
            if ticket is not None and self._open.pop(ticket, None) is not None:
                ended.append(Ended(ticket, one.value, one.failure, one.seconds, one.peak_bytes))
        return ended

    def stop(self, ticket: int) -> None:
        self._open.pop(ticket, None)
        for name, mine in list(self._names.items()):
            if mine == ticket:
                del self._names[name]
                self._workers.stop(name)

    def close(self) -> None:
        self._workers.close()

    def _take_over(self, error: WorkersLostError) -> None:
        """Begin every open call anew on the stand-in. Raises the error where the stand-in itself is lost."""
        if not self._cluster:
            raise error
        self._cluster = False
        self._workers.close()
        self._lost(str(error))
        self._workers = self._stand_in()
        self._names = {
            self._workers.start(call, *args, limit_s=limit_s): ticket
            for ticket, (call, args, limit_s) in self._open.items()
        }
