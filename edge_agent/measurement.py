"""One plan, measured: loaded, proven by the golden vectors, timed alone and in batches, weighed. In this process."""

import time
from pathlib import Path

import numpy as np

from devices.runtime import identity_model
from edge_agent.examination import time_rows, try_golden
from edge_agent.feeding import BATCH_BYTES
from edge_agent.golden import GoldenVectors
from edge_agent.inference import Model
from edge_agent.model_file import check_model_file
from edge_agent.session_plan import SessionPlan
from edge_agent.sessions import graph_file
from edge_agent.tuning import BATCHES, Measured
from protocols.errors import GenbaError
from protocols.manifest import Manifest

#: Seconds for a row alone, and for each size of batch.
_ALONE_S, _BATCH_S = 0.2, 0.08
_FEWEST_RUNS = 3
_LONGEST_BATCH_S = 0.4


def measure(folder: Path, manifest: Manifest, golden: GoldenVectors, plan: SessionPlan) -> Measured:
    """Return a plan's figures, or why it may not serve; never raises for what the model does."""
    _warm_up()
    try:
        if plan.mapped is None:
            check_model_file(folder / graph_file(manifest, plan))
        before, start = held_bytes(), time.perf_counter()
        model = Model(folder, manifest, plan)
        load_s = time.perf_counter() - start
        difference = try_golden(model, manifest, golden)
        p50, p99 = time_rows(model, golden, _ALONE_S)
        rates = {} if manifest.state else _rates(model, golden, p50 / 1000)
    except GenbaError as error:
        return Measured(plan=plan, reason=str(error))
    except MemoryError:
        return Measured(plan=plan, reason="it asked for more memory than is allowed here")
    return Measured(
        plan=plan,
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        rows_per_s=rates,
        memory_bytes=max(0, held_bytes() - before),
        load_s=round(load_s, 4),
        difference=difference,
    )


def _warm_up() -> None:
    """Have what every session takes taken before a model's memory is measured."""
    import onnxruntime

    session = onnxruntime.InferenceSession(identity_model({}), providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.zeros(1, np.float32)})


def _rates(model: Model, golden: GoldenVectors, row_s: float) -> dict[int, float]:
    """Return rows in a batch -> rows a second, up to the batch that would take too long."""
    rates: dict[int, float] = {}
    row_bytes = sum(column[:1].nbytes for column in golden.inputs)
    for rows in BATCHES:
        if rows * row_s > _LONGEST_BATCH_S or rows * row_bytes > BATCH_BYTES:
            break
        rates[rows] = _rate(model, golden, rows)
        row_s = 1 / rates[rows]
    return rates


def _rate(model: Model, golden: GoldenVectors, rows: int) -> float:
    """Return rows a second in batches of so many: by the median of their times."""
    picked = np.arange(rows) % len(golden.inputs[0])
    columns = [column[picked] for column in golden.inputs]
    times: list[float] = []
    deadline = time.perf_counter() + _BATCH_S
    while len(times) < _FEWEST_RUNS or time.perf_counter() < deadline:
        start = time.perf_counter()
        model.run(columns)
        times.append(time.perf_counter() - start)
    return round(rows / float(np.median(times)), 1)


def held_bytes(proc: Path = Path("/proc/self")) -> int:
    """Return the memory that this process holds, what it shares counted by its share; a file that is mapped counts.

    Source: proc(5), smaps_rollup; where a kernel or a sandbox does not show it, VmRSS.
    """
    for file, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (proc / file).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
