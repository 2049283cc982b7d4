"""What the registry's suites share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from simulators.candidates import write_candidate


@pytest.fixture
def make_candidate(tmp_path) -> Callable[..., Path]:
    """Make a candidate's folder; keyword arguments change its graph, its temperature or its manifest."""
    made = iter(range(1000))
    return lambda **changes: write_candidate(tmp_path / f"candidate-{next(made)}", **changes)
