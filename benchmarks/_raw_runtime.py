"""ONNX Runtime alone: rows a second of `run` over a table in memory, on all cores, by the best size of batch, its
threads spinning or not.

Run as a program with a model and a CSV, it prints that figure: no command that runs the same model with it is faster,
however it reads and writes.
"""

import itertools
import subprocess
import sys
import time
from pathlib import Path

BATCHES = (16_384, 131_072, 1 << 30)


def measure(model: Path, source: Path) -> float:
    import numpy as np
    import onnxruntime
    import pyarrow.csv

    table = pyarrow.csv.read_csv(source)
    columns = {name: table[name].to_numpy().astype(np.float32).reshape(-1, 1) for name in table.column_names}
    best = 0.0
    for spinning, batch in itertools.product("01", BATCHES):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        began = time.perf_counter()
        for at in range(0, table.num_rows, batch):
            session.run(["prediction"], {name: values[at : at + batch] for name, values in columns.items()})
        best = max(best, table.num_rows / (time.perf_counter() - began))
    return best


def raw_rows_a_second(model: Path, source: Path) -> float:
    """Return the figure, measured in a process of its own."""
    command = [sys.executable, __file__, str(model), str(source)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), Path(sys.argv[2])))
