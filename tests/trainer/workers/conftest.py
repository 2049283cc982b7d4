"""Material for calls, and a nursery that has little to load."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulators import trial_calls

from trainer.workers import LocalWorkers, Nursery

#: What a call may have in these tests.
MEMORY = 256 * 2**20


@pytest.fixture
def material(tmp_path: Path) -> Callable[[], Any]:
    """A setup; the values add up to 10."""
    folder = tmp_path / "material"
    folder.mkdir()
    np.save(folder / "values.npy", np.arange(5.0))
    return partial(trial_calls.load, str(folder))


@pytest.fixture
def local(material: Callable[[], Any]) -> Iterator[LocalWorkers]:
    with LocalWorkers(2, material, MEMORY, Nursery(["numpy"])) as workers:
        yield workers
