"""Running a graph with ONNX Runtime, as a device does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from devices.direct_run import direct_run
from trainer.columns import Column

Feed = dict[str, np.ndarray[Any, Any]]
PROVIDER = "CPUExecutionProvider"
#: Rows that a graph answers at once.
PART_ROWS = 8192


def open_graph(data: bytes, threads: int = 1) -> Any:
    """Return an ONNX Runtime session on the CPU. Raises what ONNX Runtime raises."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: the runtime's warnings are not for the user of a CLI
    return ort.InferenceSession(data, options, providers=[PROVIDER])


def to_feed(features: Sequence[Column], rows: np.ndarray[Any, Any] | None = None) -> Feed:
    """Return the columns as the graph takes them: float32 or str objects, each of shape (rows, 1)."""
    chosen = slice(None) if rows is None else rows
    return {column.name: column.values[chosen].reshape(-1, 1) for column in features}


def run_graph(session: Any, feed: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Return the outputs in the graph's order; many rows are run one part after the other, for what a graph takes."""
    rows, run = max((len(values) for values in feed.values()), default=0), direct_run(session)
    parts = [
        run(None, {name: values[begin : begin + PART_ROWS] for name, values in feed.items()})
        for begin in range(0, max(rows, 1), PART_ROWS)
    ]
    return parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]


def followed_output(outputs: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What metrics look at: probabilities (rows, classes) of a classifier, predictions (rows,) of a regression.

    A classifier's first output is a label, which is no float; `contributions` come last.
    """
    return outputs[1] if len(outputs) > 1 and outputs[0].dtype.kind != "f" else outputs[0].reshape(-1)
