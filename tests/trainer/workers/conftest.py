"""Material for calls, and a nursery that has little to load."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulators import trial_calls
from simulators.dask_cluster import DaskCluster

from trainer.workers import FromFolder, LocalWorkers, Nursery, Workers

#: What a call may have in these tests.
MEMORY = 256 * 2**20


@pytest.fixture
def material(tmp_path: Path) -> Callable[[], Any]:
    """A setup; the values add up to 10."""
    folder = tmp_path / "material"
    (folder / "parts").mkdir(parents=True)
    np.save(folder / "parts" / "values.npy", np.arange(5.0))
    return FromFolder(trial_calls.load, folder)


@pytest.fixture
def local(material: Callable[[], Any]) -> Iterator[LocalWorkers]:
    with LocalWorkers(2, material, MEMORY, Nursery(["numpy"])) as workers:
        yield workers


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and two workers of one thread."""
    if find_spec("distributed") is None:
        pytest.skip("Dask is not installed (pip install 'genba[dask]')")
    running = DaskCluster(tmp_path_factory.mktemp("dask"))
    yield running
    running.close()


@pytest.fixture
def dask(cluster: DaskCluster, material: Callable[[], Any]) -> Iterator[Workers]:
    from trainer.workers.cluster import DaskWorkers

    with DaskWorkers(cluster.address, material, MEMORY, ["numpy"]) as workers:
        assert workers.size == 2
        yield workers


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Callable[..., DaskCluster]]:
    """Starts a cluster that a test may break; options as of `DaskCluster`."""
    made: list[DaskCluster] = []

    def make(**options: Any) -> DaskCluster:
        made.append(DaskCluster(tmp_path / f"dask{len(made)}", **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
