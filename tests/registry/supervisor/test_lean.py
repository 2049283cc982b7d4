"""What the processes that run all the time may load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"pandas", "sklearn", "scipy", "onnx", "onnxruntime", "trainer", "edge_agent"}


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("registry.mqtt.__main__", {"flask", "amqtt"}),
        ("registry.jobs.__main__", {"flask", "amqtt", "paho"}),
        ("registry.supervisor", {"flask", "amqtt"}),
        ("registry.broker.__main__", {"flask", "sqlite_utils"}),
    ],
)
def test_a_process_loads_nothing_heavy(module, more):
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=30, check=True
    )
    assert set(done.stdout.split()) & (HEAVY | more) == set()
