"""What runs on a Dask worker, its hands: `LocalWorkers`, so limits and crashes are there what they are here."""

import queue
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distributed import Reschedule, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from trainer.errors import WorkersLostError
from trainer.workers.calls import Ended
from trainer.workers.local import LocalWorkers
from trainer.workers.material import FromFolder
from trainer.workers.nursery import Nursery
from trainer.workers.sizes import default_memory_bytes
from trainer.workers.versions import differences, versions

#: Seconds between two looks at whether a call was taken back.
_LOOK_S = 0.1
#: Seconds that running calls are given to notice that all is over.
_GRACE_S = 1.0


class Hands(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """One process for each thread of a Dask worker; Dask brings it to each worker, also to one that comes later.

    Args:
        name: of the run.
        setup: gives the material; the files of a `FromFolder` travel along.
        memory_bytes: what a call may allocate; None: a share of the worker's own limit, or of its machine.
        modules: what the processes load first.
        expected: versions that this worker must have too.
    """

    idempotent = True

    def __init__(
        self,
        name: str,
        setup: Callable[[], Any] | None,
        memory_bytes: int | None,
        modules: Sequence[str],
        expected: dict[str, str],
    ) -> None:
        self.name = name
        self._files: dict[str, bytes] | None = None
        self._setup = setup
        if isinstance(setup, FromFolder):
            files = (path for path in setup.folder.rglob("*") if path.is_file())
            self._files = {str(path.relative_to(setup.folder)): path.read_bytes() for path in files}
        self._memory_bytes = memory_bytes
        self._modules, self._expected = tuple(modules), expected

    def setup(self, worker: Worker) -> None:
        """Dask calls this on each worker.

        Raises:
            WorkersLostError: this worker has other versions than its caller.
        """
        self.ready = self.closing = False
        self.folder: str | None = None
        self._all: list[LocalWorkers] = []
        self._free: queue.Queue[LocalWorkers] = queue.Queue()
        if differing := differences(self._expected, versions()):
            raise WorkersLostError(f"Dask worker {worker.address} has {differing}")
        setup = self._setup
        if isinstance(setup, FromFolder) and self._files is not None:
            self.folder = tempfile.mkdtemp(prefix="genba-", dir=worker.local_directory)
            for name, data in self._files.items():
                path = Path(self.folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            self._files = None
            setup = FromFolder(setup.load, Path(self.folder))
        threads = worker.state.nthreads
        limit = worker.memory_manager.memory_limit
        memory_bytes = self._memory_bytes or (limit // threads if limit else default_memory_bytes(threads))
        for _ in range(threads):
            local = LocalWorkers(1, setup, memory_bytes, Nursery(self._modules))
            self._all.append(local)
            self._free.put(local)
        self.ready = True

    def teardown(self, worker: Worker) -> None:
        self.closing = True
        over_at = time.monotonic() + _GRACE_S
        while self._free.qsize() < len(self._all) and time.monotonic() < over_at:
            time.sleep(0.01)  # a running call looks ten times a second
        for local in self._all:
            local.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, packed: bytes, limit_s: float | None, unwanted: Callable[[], bool]) -> Ended | None:
        """Run a call; None where it was taken back meanwhile."""
        local = self._free.get()
        try:
            ticket = local.start_packed(packed, limit_s)
            while not (self.closing or unwanted()):
                if ended := local.wait(_LOOK_S):
                    return ended[0]
            local.stop(ticket)
            return None
        finally:
            self._free.put(local)


def run(name: str, packed: bytes, limit_s: float | None) -> Ended | None:
    """The Dask task: run a call in this worker's hands."""
    worker = get_worker()
    hands = worker.plugins.get(name)
    if hands is None:
        return None  # the run is over
    if not hands.ready:
        time.sleep(0.5)
        raise Reschedule  # this worker came later, and is not fit for it
    key = worker.get_current_task()

    def unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state in ("cancelled", "resumed")

    found: Ended | None = hands.run(packed, limit_s, unwanted)
    return found
