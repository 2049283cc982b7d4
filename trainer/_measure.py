"""Run as a script: load a graph, answer single rows, print [memory_bytes, p50_ms, p99_ms] as JSON.

The memory is the most that was taken, which is while it is loaded; a device's preflight judges by the same.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil

from devices.direct_run import direct_run

RUNS, WARM_UP, LIMIT_S = 300, 20, 1.0


def main(graph: str, vectors: str) -> None:
    process = psutil.Process()
    with np.load(vectors, allow_pickle=False) as file:
        columns = [file[f"input_{index}"] for index in range(sum(name.startswith("input_") for name in file.files))]
        state = [file[f"state_{index}"] for index in range(sum(name.startswith("state_") for name in file.files))]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    before, peak_before = process.memory_info().rss, _peak_bytes()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    rows = [
        {
            name: values[row : row + 1].astype(object if values.dtype.kind == "U" else values.dtype)
            for name, values in zip(names, columns, strict=False)
        }
        | dict(zip(names[len(columns) :], state, strict=True))
        for row in range(len(columns[0]))
    ]
    answer, taken = direct_run(session), list[float]()
    end = time.perf_counter() + LIMIT_S
    for run in range(RUNS + WARM_UP):
        start = time.perf_counter()
        answer(None, rows[run % len(rows)])
        taken.append((time.perf_counter() - start) * 1000)
        if start > end:
            break
    measured = taken[WARM_UP:] or taken
    after, peak = process.memory_info().rss, _peak_bytes()
    memory = max(after - before, peak - before if peak > peak_before else 0, Path(graph).stat().st_size)
    print(json.dumps([memory, float(np.percentile(measured, 50)), float(np.percentile(measured, 99))]))


def _peak_bytes() -> int:
    """The most that was ever resident; 0 where the kernel does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


main(*sys.argv[1:])
