"""The public conformance suite of TUF, run on the agent's own updater (`make conformance`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "run"
CANNOT = 77


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(900)
def test_the_agents_updater_passes_the_public_suite() -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([RUN], env=environment, capture_output=True, text=True, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.rstrip().endswith("conformance: 113 of 113 passed")
