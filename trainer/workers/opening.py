"""The workers that a run asks for: this machine's, or a cluster's."""

from collections.abc import Callable
from typing import Any

from trainer.errors import RequestError
from trainer.workers.calls import Workers
from trainer.workers.local import LocalWorkers
from trainer.workers.nursery import Nursery


def open_workers(
    setup: Callable[[], Any],
    *,
    size: int | None = None,
    memory_bytes: int | None = None,
    nursery: Nursery | None = None,
    dask: str | None = None,
    insecure: bool = False,
) -> Workers:
    """Return workers that are closed by whoever asked.

    Args:
        setup: gives the material; with `dask` a `FromFolder`, whose files are copied.
        size: how many, on this machine; a cluster has its own.
        nursery: one that is warm already; closed at once where a cluster is given.
        dask, insecure: see `DaskWorkers`.

    Raises:
        RequestError: no such address, one in the clear beyond this machine, or Dask is not installed.
        WorkersLostError: the cluster cannot be used; the text says why.
    """
    if dask is None:
        return LocalWorkers(size, setup, memory_bytes, nursery)
    if nursery is not None:
        nursery.close()
    try:
        from trainer.workers.cluster import DaskWorkers
    except ModuleNotFoundError as error:
        raise RequestError(f"--dask needs the package {error.name!r}: pip install 'genba[dask]'") from error
    return DaskWorkers(dask, setup, memory_bytes, insecure=insecure)
