"""Calls on a Dask cluster. Needs the extra `dask`; see `Workers` for the interface."""

import asyncio
import contextlib
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

from distributed import Client, Future, KilledWorker, Security

from trainer.errors import WorkersLostError
from trainer.workers.calls import Ended, Failure
from trainer.workers.cluster_address import check_encrypted, read_address
from trainer.workers.cluster_hands import Hands, run
from trainer.workers.nursery import PRELOADED
from trainer.workers.versions import versions
from trainer.workers.worker import pack

#: Seconds in which a scheduler must answer, and have a worker.
CONNECT_S = 10.0
#: Seconds that a cluster may be without any worker before it is given up.
PATIENCE_S = 15.0
#: Seconds between two looks at whether scheduler and workers are still there.
_LOOK_S = 0.2
_COUNT_S = 2.0
#: Seconds that the cluster is given to kill what runs, when it is closed.
_GRACE_S = 2.0


class DaskWorkers:
    """Calls on the workers of a Dask cluster, each in a process that its Dask worker kills when it must.

    A call whose Dask worker dies is run again elsewhere, as often as the scheduler allows
    (`distributed.scheduler.allowed-failures`); then its failure is `died`.

    Args:
        address: `tls://host:port`, or the path of a scheduler file.
        setup: gives the material, run by each worker; the files of a `FromFolder` are copied to each.
        memory_bytes: what a call may allocate; None: each worker's own limit, shared by its threads.
        modules: what the workers load before the first call.
        insecure: calls may travel in the clear beyond this machine.

    Raises:
        RequestError: no address, or one in the clear beyond this machine.
        WorkersLostError: no scheduler or no worker answers, or a worker has other versions; the text says which.
    """

    def __init__(
        self,
        address: str,
        setup: Callable[[], Any] | None = None,
        memory_bytes: int | None = None,
        modules: Sequence[str] = PRELOADED,
        *,
        insecure: bool = False,
    ) -> None:
        self.address = read_address(address)
        check_encrypted(self.address, insecure=insecure)
        self._client = _connect(self.address)
        self._name = f"genba-{uuid.uuid4().hex}"
        self._futures: dict[int, Future] = {}
        self._news: queue.SimpleQueue[tuple[int, Ended | WorkersLostError]] = queue.SimpleQueue()
        self._tickets = 0
        self._closed = False
        self._counted_at = self._seen_at = time.monotonic()
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_S)
            self._client.register_plugin(Hands(self._name, setup, memory_bytes, modules, versions()))
            self._size = self._count()
        except Exception as error:  # whatever it is, a worker raised it, and the cluster cannot be used
            self.close()
            raise _refusal(self.address, error) from error

    @property
    def size(self) -> int:
        """Threads of all workers: it changes as they come and go."""
        return self._size

    def start(self, call: Callable[..., Any], *args: Any, limit_s: float | None = None) -> int:
        self._check()
        packed, ticket = pack(call, args), self._tickets
        self._tickets += 1
        future = self._client.submit(
            run, self._name, packed, limit_s, key=f"{self._name}-{ticket}", pure=False, priority=-ticket
        )
        self._futures[ticket] = future
        future.add_done_callback(lambda done: self._news.put((ticket, _outcome(ticket, done))))
        return ticket

    def wait(self, timeout_s: float) -> list[Ended]:
        over_at = time.monotonic() + timeout_s
        while True:
            self._check()
            left_s = max(0.0, over_at - time.monotonic())
            news = []
            with contextlib.suppress(queue.Empty):
                news.append(self._news.get(timeout=min(left_s, _LOOK_S)))
                while True:
                    news.append(self._news.get_nowait())
            wanted = self._wanted(news)
            if wanted or time.monotonic() >= over_at:
                return wanted

    def stop(self, ticket: int) -> None:
        future = self._futures.pop(ticket, None)
        if future is not None and self._client.status == "running":
            future.cancel()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._futures.clear()
        if self._client.status == "running":
            with contextlib.suppress(Exception):  # the cluster is no more, or busy: its plugin ends with its workers
                self._client.sync(self._part)
        self._client.close(timeout=_GRACE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def _part(self) -> None:
        await asyncio.wait_for(self._client.scheduler.unregister_worker_plugin(name=self._name), _GRACE_S)

    def _wanted(self, news: list[tuple[int, Ended | WorkersLostError]]) -> list[Ended]:
        """Those of the calls that were not taken back.

        Raises:
            WorkersLostError: the scheduler is gone: that is why they ended; or no worker can be set up.
        """
        found = []
        for ticket, outcome in news:
            if self._futures.pop(ticket, None) is None:
                continue
            if isinstance(outcome, WorkersLostError):
                self._check()
                raise outcome
            found.append(outcome)
        return found

    def _check(self) -> None:
        if self._closed:
            raise WorkersLostError("the workers are closed")
        if self._client.status != "running":
            raise WorkersLostError(f"the Dask scheduler at {self.address} is gone")
        now = time.monotonic()
        if now - self._counted_at < _COUNT_S:
            return
        self._counted_at = now
        self._size = self._count()
        if self._size:
            self._seen_at = now
        elif now - self._seen_at > PATIENCE_S:
            raise WorkersLostError(
                f"the Dask scheduler at {self.address} has had no worker for {PATIENCE_S:g} s: start `dask worker`"
            )

    def _count(self) -> int:
        """Threads of the workers that are there.

        Raises:
            WorkersLostError: the scheduler does not answer.
        """
        try:
            return sum(self._client.nthreads().values())
        except Exception as error:  # what Dask raises when a connection breaks is its own affair
            raise WorkersLostError(f"the Dask scheduler at {self.address} does not answer: {error}") from error


def _connect(address: str) -> Client:
    security = Security()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ: they are checked, and an error
            return Client(address, timeout=CONNECT_S, security=security, set_as_default=False, name="genba")
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # TypeError: tls:// without certificates
        raise WorkersLostError(f"no Dask scheduler answers at {address}: {error}") from error


def _refusal(address: str, error: Exception) -> WorkersLostError:
    if isinstance(error, WorkersLostError):
        return error
    if isinstance(error, TimeoutError):
        return WorkersLostError(
            f"the Dask scheduler at {address} has no worker: start one with `dask worker {address}`"
        )
    return WorkersLostError(
        f"the workers of the Dask scheduler at {address} cannot be used: {type(error).__name__}: {error}; each needs "
        f"the same genba[trainer,dask] as this machine"
    )


def _outcome(ticket: int, future: Future) -> Ended | WorkersLostError:
    """How a call ended, from its future. Runs in Dask's thread for callbacks."""
    if future.cancelled():
        return WorkersLostError("the Dask scheduler has lost a call")
    try:
        ended: Ended | None = future.result(timeout=CONNECT_S)
    except KilledWorker as error:
        return Ended(ticket, None, Failure("died", f"each Dask worker that ran it died ({error.last_worker.address})"))
    except WorkersLostError as error:
        return error
    except Exception as error:  # what cannot be read back, or what Dask itself met
        text = f"its result cannot be read back: {type(error).__name__}: {error}"
        return Ended(ticket, None, Failure("error", text, type(error).__name__))
    return (
        WorkersLostError("the Dask workers ended a call that nobody had taken back")
        if ended is None
        else replace(ended, ticket=ticket)
    )
