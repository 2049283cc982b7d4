"""The same ONNX graphs on several processors: this one, an older x86 and two Arm boards, the latter by qemu."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from simulators.board import OTHER_PROCESSOR, Board, emulator

#: Runs each graph on the rows of a file; its words are the file, where the outputs go, and the graphs.
_RUN = """
import sys
import numpy, onnxruntime
rows, graphs = numpy.load(sys.argv[1]), sys.argv[3:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
sessions = [onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for graph in graphs]
numpy.savez(sys.argv[2], **{str(place): one.run(None, {"x": rows})[0] for place, one in enumerate(sessions)})
"""
HERE = "this x86"
#: AVX2 and no VNNI: most industrial PCs. TCG has no TSX.
HASWELL = "x86, AVX2 alone"
PI_4, PI_5 = "Cortex-A72 (Raspberry Pi 4)", "Cortex-A76 (Raspberry Pi 5)"


def commands(board: Board) -> dict[str, list[str]]:
    """Return how Python is started on each."""
    return {
        HERE: [sys.executable],
        HASWELL: [str(emulator("x86_64")), "-cpu", "Haswell-noTSX", sys.executable],
        PI_4: [str(board.python)],
        PI_5: ["env", f"{OTHER_PROCESSOR}=cortex-a76", str(board.python)],
    }


def outputs(
    command: Sequence[str], rows: np.ndarray[Any, Any], graphs: Mapping[str, Path]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return what each graph makes of the rows there, shape (rows, 1)."""
    with tempfile.TemporaryDirectory() as temporary:
        given, made = Path(temporary) / "rows.npy", Path(temporary) / "made.npz"
        np.save(given, rows)
        done = subprocess.run(
            [*command, "-c", _RUN, str(given), str(made), *map(str, graphs.values())],
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with np.load(made) as found:
            return {name: found[str(place)] for place, name in enumerate(graphs)}
