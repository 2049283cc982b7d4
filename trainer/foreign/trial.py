"""A model of another maker runs first in a process of its own: a crash or a hunger for memory is a refusal, in a line.

`python -m trainer.foreign.trial GRAPH ROWS LIMIT_BYTES` is the child: it loads the graph and runs it on the rows.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from trainer.errors import ImportRefusedError

#: A sample that takes longer is too slow for any stream.
LIMIT_S = 120.0
#: Address space beyond the memory that is allowed: thread stacks and mapped libraries.
_MARGIN_BYTES = 2**30
_SHARE = 0.6
_STARVED = ("Failed to allocate memory", "bad_alloc", "bad allocation", "MemoryError")


def try_graph(graph: bytes, feed: Mapping[str, np.ndarray[Any, Any]], limit_bytes: int | None = None) -> None:
    """Return if a graph can be loaded and run on these rows, within the memory that is free here.

    Raises:
        ImportRefusedError: it kills its process, asks for more memory, takes longer than LIMIT_S, or is refused by
            ONNX Runtime.
    """
    limit = limit_bytes or int(psutil.virtual_memory().available * _SHARE)
    with tempfile.TemporaryDirectory(prefix="genba-") as folder:
        model, rows = Path(folder, "model.onnx"), Path(folder, "rows.npz")
        model.write_bytes(graph)
        plain = [value.astype(np.str_) if value.dtype == object else value for value in feed.values()]
        arrays: dict[str, Any] = {f"input_{index}": value for index, value in enumerate(plain)}
        np.savez(rows, **arrays)
        command = [sys.executable, "-P", "-m", "trainer.foreign.trial", str(model), str(rows), str(limit)]
        try:
            child = subprocess.run(
                command, capture_output=True, timeout=LIMIT_S, check=False, env=_environment(), stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise ImportRefusedError(f"the model does not answer the sample within {LIMIT_S:g} s") from error
    if child.returncode:
        raise ImportRefusedError(_refusal(child.returncode, child.stderr.decode(errors="replace"), limit))


def _environment() -> dict[str, str]:
    """The child finds what this process finds, however it was started."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _refusal(code: int, said: str, limit_bytes: int) -> str:
    if any(word in said for word in _STARVED):
        return f"the model asks for more than {limit_bytes >> 20} MiB of memory on the sample, which are free here"
    if code < 0:
        return f"the model kills the process that runs it ({signal.Signals(-code).name})"
    last = (said.strip().splitlines() or ["no reason"])[-1]
    return f"ONNX Runtime cannot run the model on the sample: {last[:300]}"


def main(graph: str, rows: str, limit_bytes: str) -> None:
    """The child."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = int(limit_bytes) + _MARGIN_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    with np.load(rows, allow_pickle=False) as file:
        values = [file[f"input_{index}"] for index in range(len(file.files))]
    fed = [value.astype(object) if value.dtype.kind == "U" else value for value in values]
    session.run(None, {entry.name: value for entry, value in zip(session.get_inputs(), fed, strict=True)})


if __name__ == "__main__":
    main(*sys.argv[1:])
