"""The public Uptane vectors, run on the device's own verifier (`make vectors`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("vectors.py")
ROOT = Path(__file__).parents[2]
CANNOT = 77


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(300)
@pytest.mark.parametrize("key_type", ["ed25519", "rsa-2048"])
def test_the_device_installs_and_refuses_what_the_public_vectors_say(key_type: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, RUN, "--key-type", key_type]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.endswith("vectors: 84 of 84 applicable passed, of 86\n")
