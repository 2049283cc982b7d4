"""One row of a wide table: a session's run as ONNX Runtime has it, and as devices run it (`devices.direct_run`).

The graph joins its inputs, one for each column, and sums them: what is left is the cost of handing over the columns.
"""

import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from devices.direct_run import direct_run

COLUMNS = (10, 30, 100, 300, 1000, 5000)


def main() -> None:
    print(f"ONNX Runtime {ort.__version__}; medians of single rows, ms\n")
    print(f"{'columns':>8}{'Session.run':>14}{'direct':>10}{'ratio':>8}")
    for columns in COLUMNS:
        names = [f"column {place}" for place in range(columns)]
        session, row = _session(names), {name: np.ones((1, 1), np.float32) for name in names}
        run = direct_run(session)
        whole, direct = _medians([lambda s=session, r=row: s.run(None, r), lambda d=run, r=row: d(None, r)])
        print(f"{columns:>8}{whole:>14.4f}{direct:>10.4f}{whole / direct:>8.1f}")


def _session(names: list[str]) -> ort.InferenceSession:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    nodes = [helper.make_node("Concat", names, ["all"], axis=1), helper.make_node("ReduceSum", ["all"], ["sum"])]
    outputs = [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "wide", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _medians(calls: list[Callable[[], object]], least: int = 20, seconds: float = 1.0) -> list[float]:
    """Milliseconds of each call, by turns."""
    taken: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(taken[0]) < least or time.perf_counter() < end:
        for one, times in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            one()
            times.append(1000 * (time.perf_counter() - begun))
    return [float(np.median(times)) for times in taken]


if __name__ == "__main__":
    main()
