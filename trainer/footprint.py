"""What serving a model takes on this machine, measured by ONNX Runtime in a process of its own."""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from protocols.manifest import Footprint

#: A model that takes longer than this to load and to answer a few times is reported as an error.
LIMIT_S = 60.0


def measure_footprint(model: bytes, golden: bytes) -> Footprint:
    """Return memory (the most that loading and serving adds) and latency of single rows.

    Raises:
        subprocess.SubprocessError: the process ended badly or took over a minute.
    """
    with tempfile.TemporaryDirectory(prefix="genba-") as folder:
        graph, vectors = Path(folder, "model.onnx"), Path(folder, "golden.npz")
        graph.write_bytes(model)
        vectors.write_bytes(golden)
        # -P: else this folder would come first on the path, and its modules could hide others.
        script = Path(__file__).with_name("_measure.py")
        done = subprocess.run(
            [sys.executable, "-P", str(script), str(graph), str(vectors)],
            check=True,
            capture_output=True,
            timeout=LIMIT_S,
        )
    memory, p50, p99 = msgspec.json.decode(done.stdout, type=tuple[int, float, float])
    return Footprint(memory, p50, p99, f"{platform.machine()} {platform.system()}, ONNX Runtime, one thread")
