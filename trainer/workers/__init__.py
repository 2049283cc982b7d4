"""Where calls run: processes of this machine that can be killed, or a Dask cluster.

`local` and `cluster` are two adapters of the one interface in `calls`. `cluster` needs the extra `dask`, and is
imported by whoever wants it.
"""

from trainer.workers.calls import Ended, Failure, Workers
from trainer.workers.local import LocalWorkers
from trainer.workers.material import FromFolder
from trainer.workers.nursery import PRELOADED, Nursery, warm_up
from trainer.workers.opening import open_workers
from trainer.workers.sizes import default_memory_bytes, default_size

__all__ = [
    "PRELOADED",
    "Ended",
    "Failure",
    "FromFolder",
    "LocalWorkers",
    "Nursery",
    "Workers",
    "default_memory_bytes",
    "default_size",
    "open_workers",
    "warm_up",
]
