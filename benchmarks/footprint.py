"""What an agent takes: memory and start, beside the libraries that it cannot do without.

First imports, in fresh interpreters. Then a real agent with a real broker and a signed release: its memory with nothing
assigned, the most that it takes while it asks the registry, with a small model serving, and the time from its start to
its first prediction. Memory is the proportional set size (PSS), all processes together.

--python FILE: the interpreter that is measured, of an environment with what a device has alone (genba[cpu]).
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

ROUNDS = 5
SIDES = {
    "interpreter alone": "pass",
    "paho + tuf": "import paho.mqtt.client, tuf.ngclient",
    "agent, no model loaded": "import edge_agent.assembly, edge_agent.daemon",
    "numpy + paho + tuf + ONNX Runtime": "import numpy, paho.mqtt.client, tuf.ngclient, onnxruntime",
    "agent with ONNX Runtime": "import edge_agent.assembly, edge_agent.daemon, edge_agent.lane, onnxruntime",
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


def measure(python: str, code: str) -> tuple[float, float] | None:
    """Return (seconds to import, PSS in MB), medians of fresh interpreters; None where it is not installed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = []
    for _ in range(ROUNDS + 1):
        command = [python, "-c", PROGRAM.format(code=code)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        runs.append([float(value) for value in done.stdout.split()])
    seconds, memory = zip(*runs[1:], strict=True)
    return statistics.median(seconds), statistics.median(memory)


def measure_imports(python: str) -> None:
    results = {side: found for side, code in SIDES.items() if (found := measure(python, code)) is not None}
    print(f"{'after import':36}{'import s':>10}{'PSS MB':>10}")
    for side, (seconds, memory) in results.items():
        print(f"{side:36}{seconds:10.2f}{memory:10.1f}")
    for ours, peer in (
        ("agent, no model loaded", "paho + tuf"),
        ("agent with ONNX Runtime", "numpy + paho + tuf + ONNX Runtime"),
    ):
        time_ratio, memory_ratio = (results[ours][i] / results[peer][i] for i in (0, 1))
        print(f"ratio {ours} / {peer}: time {time_ratio:.2f}, memory {memory_ratio:.2f}")


def memory_mb(process: int) -> float:
    """Return the PSS of a process and its children."""
    import psutil

    total = 0
    for each in [psutil.Process(process), *psutil.Process(process).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a child that has just ended
            total += each.memory_full_info().pss
    return total / 1024 / 1024


def settled_mb(process: int) -> float:
    """Return the PSS once it has stopped falling and rising."""
    before, now = -10.0, memory_mb(process)
    while abs(now - before) > 0.2:
        time.sleep(2)
        before, now = now, memory_mb(process)
    return now


def measure_agent(python: str, folder: Path) -> None:
    from simulators.agent_home import make_home
    from simulators.agent_process import Agent, Line, assign, published
    from simulators.broker_process import Broker
    from simulators.registry_side import RegistrySide, SignedReleases

    from protocols.names import ReleaseRef

    (folder / "broker").mkdir()
    broker = Broker(folder / "broker")
    broker.start()
    signed = SignedReleases(folder / "registry")
    side = RegistrySide(broker.port, signed.read)
    line = Line(broker.port)
    home = make_home(folder / "agent", signed, broker.url)
    agent = Agent(home, python=python)
    try:
        side.wait_for(lambda: side.statuses and side.statuses[-1].online, 60)
        print(f"memory (PSS) with nothing assigned: {settled_mb(agent.process.pid):.1f} MB (target 30)")
        most = 0.0
        for _ in range(ROUNDS):
            side.nudge("osaka", "press-1", revision := signed.assign("press-1"))
            while side.statuses[-1].revision != revision:
                most = max(most, memory_mb(agent.process.pid))
                time.sleep(0.01)
        print(f"memory (PSS) at its peak while the registry is asked: {most:.1f} MB")
        ref = ReleaseRef("ccpp", 1)
        published(signed, folder, ref)
        assign(signed, side, ref, confirm_s=1.0)
        side.wait_for(lambda: "release-confirmed" in side.kinds(), 60)
        for key in range(1000):
            line.send({"id": key, "AT": 1.0, "V": 2.0})
        side.wait_for(lambda: len(line.predictions) == 1000, 60)
        print(f"memory (PSS) with a small model serving: {settled_mb(agent.process.pid):.1f} MB (target 90)")
        starts = []
        for number in range(ROUNDS):
            agent.stop()
            agent.close()
            began = time.perf_counter()
            agent = Agent(home, python=python)
            starts.append(first_prediction(line, f"start {number}", began))
        print(f"start to first prediction: {statistics.median(starts):.2f} s, most {max(starts):.2f} (target 2)")
    finally:
        agent.close()
        line.close()
        side.close()
        broker.stop()


def first_prediction(line, name: str, began: float) -> float:  # type: ignore[no-untyped-def]
    """Send readings until one is answered; return the seconds."""
    number = 0
    while not any(str(key).startswith(name) for key in list(line.predictions)):
        line.send(json.dumps({"id": f"{name} {number}", "AT": 1.0, "V": 2.0}).encode())
        number += 1
        time.sleep(0.005)
        assert time.perf_counter() - began < 60, "no prediction within a minute"
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="the interpreter that is measured")
    wanted = parser.parse_args().python
    measure_imports(wanted)
    with tempfile.TemporaryDirectory() as name:
        measure_agent(wanted, Path(name))
