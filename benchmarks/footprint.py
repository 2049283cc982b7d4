"""The agent's import time and memory beside those of the libraries that it cannot do without."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 5
SIDES = {
    "interpreter alone": "pass",
    "numpy + paho": "import numpy, paho.mqtt.client",
    "agent, no model loaded": "import edge_agent.assembly, edge_agent.daemon",
    "numpy + paho + ONNX Runtime": "import numpy, paho.mqtt.client, onnxruntime",
    "agent with ONNX Runtime": "import edge_agent.assembly, edge_agent.daemon, onnxruntime",
    "scikit-learn, for scale": "import sklearn.ensemble",
}
PROGRAM = """
import time
began = time.perf_counter()
{code}
took = time.perf_counter() - began
pss = next(line for line in open("/proc/self/smaps_rollup") if line.startswith("Pss:"))
print(took, int(pss.split()[1]) / 1024)
"""


def measure(code: str) -> tuple[float, float]:
    """Return (seconds to import, proportional set size in MB), medians of fresh interpreters."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    runs = []
    for _ in range(ROUNDS + 1):
        command = [sys.executable, "-c", PROGRAM.format(code=code)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        runs.append([float(value) for value in done.stdout.split()])
    seconds, memory = zip(*runs[1:], strict=True)
    return statistics.median(seconds), statistics.median(memory)


def main() -> None:
    results = {side: measure(code) for side, code in SIDES.items()}
    print(f"{'':32}{'import s':>10}{'PSS MB':>10}")
    for side, (seconds, memory) in results.items():
        print(f"{side:32}{seconds:10.2f}{memory:10.1f}")
    for ours, peer in (
        ("agent, no model loaded", "numpy + paho"),
        ("agent with ONNX Runtime", "numpy + paho + ONNX Runtime"),
    ):
        time_ratio, memory_ratio = (results[ours][i] / results[peer][i] for i in (0, 1))
        print(f"ratio {ours} / {peer}: time {time_ratio:.2f}, memory {memory_ratio:.2f}")


if __name__ == "__main__":
    main()
