"""The preflight's child, `python -m edge_agent.examination`: loads a release, runs its golden vectors, measures.

It reads an order on stdin, says on stdout which check it begins, one JSON line each, and ends with a report. What it
does is confined to its own process; `edge_agent.preflight` judges what becomes of it.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.errors import AgentError, FallbackError, ModelLoadError, ModelRunError, ReleaseRefusedError
from edge_agent.golden import GoldenVectors, compare, read_golden
from edge_agent.golden_kinds import check_pictures, make_runner, single_rows
from edge_agent.inference import Model
from edge_agent.model_file import check_model_file
from edge_agent.peak_memory import PeakMemory, peak_bytes
from edge_agent.preflight import Check, Order, PreflightReport, Step, too_much_memory
from edge_agent.releases import read_release
from edge_agent.session_plan import CPU, SessionPlan, provider_name
from edge_agent.sessions import graph_file
from protocols.errors import GenbaError
from protocols.manifest import Manifest

_LATENCY_RUNS, _LATENCY_S = 300, 1.0
#: Address space beyond the memory limit: thread stacks and mapped libraries, which take no memory until used.
_DATA_MARGIN = 1024 * 1024 * 1024


def examine(
    folder: Path,
    plan: SessionPlan,
    *,
    begin: Callable[[Check], None] = lambda check: None,
    memory_bytes: int = 0,
) -> PreflightReport:
    """Load and try a release in this process.

    Args:
        begin: told which check comes next.
        memory_bytes: most that it may take; 0: no limit.

    Raises:
        GenbaError: it must not run here; the text says why.
    """
    import onnxruntime

    begin("files")
    manifest = read_release(folder)
    golden = read_golden(folder / "golden.npz", manifest)
    check_model_file(folder / graph_file(manifest, plan), memory_bytes)
    begin("load")
    memory = PeakMemory()
    start = time.perf_counter()
    model = Model(folder, manifest, plan)
    load_s = time.perf_counter() - start
    begin("golden")
    largest = try_golden(model, manifest, golden)
    begin("latency")
    p50, p99 = time_rows(model, golden)
    report = PreflightReport(
        passed=True,
        asked=model.asked,
        provider=model.provider,
        placement=model.placement,
        rows=len(golden.inputs[0]),
        largest_difference=largest,
        memory_bytes=memory.growth_bytes(),
        load_s=round(load_s, 4),
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        onnxruntime=onnxruntime.__version__,
    )
    return _within_latency(report, manifest.latency_limit_ms)


def build(
    folder: Path,
    plan: SessionPlan,
    *,
    begin: Callable[[Check], None] = lambda check: None,
    memory_bytes: int = 0,
) -> PreflightReport:
    """Have a release's engine compiled in the plan's cache; some providers compile as late as the first rows come.

    Raises:
        GenbaError: as `examine`.
    """
    begin("files")
    manifest = read_release(folder)
    golden = read_golden(folder / "golden.npz", manifest)
    check_model_file(folder / graph_file(manifest, plan), memory_bytes)
    begin("build")
    start = time.perf_counter()
    model = Model(folder, manifest, plan)
    try_golden(model, manifest, golden)
    return PreflightReport(
        passed=True,
        asked=model.asked,
        provider=model.provider,
        placement=model.placement,
        build_s=round(time.perf_counter() - start, 4),
    )


def _within_latency(report: PreflightReport, limit_ms: float | None) -> PreflightReport:
    if limit_ms is None or report.latency_p99_ms <= limit_ms:
        return report
    reason = f"one row takes {report.latency_p99_ms:g} ms here (p99), and the release promises {limit_ms:g} ms"
    return msgspec.structs.replace(
        report, passed=False, reason=reason, check="latency", figure=report.latency_p99_ms, limit=limit_ms
    )


def try_golden(model: Model, manifest: Manifest, golden: GoldenVectors) -> float:
    tolerance = manifest.tolerance(model.provider, model.plan.precision)
    if tolerance is None:
        raise ReleaseRefusedError(
            f"{manifest.release} is not proven on {model.provider}, only on {', '.join(manifest.providers)}"
        )
    check_pictures(manifest, golden)
    together = make_runner(model)(golden.inputs)
    alone = make_runner(model)([column[:1] for column in golden.inputs])
    compare(manifest, [output[:1] for output in golden.outputs], alone, tolerance)
    return compare(manifest, golden.outputs, together, tolerance)


def time_rows(model: Model, golden: GoldenVectors, seconds: float = _LATENCY_S) -> tuple[float, float]:
    """Return the 50th and 99th percentile of one row's run; of an image's with its decoding."""
    import numpy as np

    times, deadline = [], time.perf_counter() + seconds
    run = make_runner(model)
    for _, row in zip(range(_LATENCY_RUNS), single_rows(model.manifest, golden), strict=False):
        start = time.perf_counter()
        run(row())
        times.append(time.perf_counter() - start)
        if time.perf_counter() > deadline:
            break
    p50, p99 = np.quantile(np.array(times[min(5, len(times) - 1) :]) * 1000, [0.5, 0.99])
    return round(float(p50), 4), round(float(p99), 4)


def confine(plan: SessionPlan, memory_bytes: int) -> None:
    """Die with the parent, give way to what serves, be the first that a full memory takes, keep to the limit."""
    os.nice(5)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError):  # not there in every container; the limits below are
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    on_cpu = all(provider_name(provider) == CPU for provider in plan.providers)
    if memory_bytes and on_cpu:  # accelerators reserve address space far beyond what they use
        limit = memory_bytes + _DATA_MARGIN
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _report(order: Order) -> PreflightReport:
    begun: list[Check] = ["start"]

    def begin(check: Check) -> None:
        begun.append(check)
        _say(Step(check))

    try:
        run = build if order.build else examine
        report = run(order.folder, order.plan, begin=begin, memory_bytes=order.memory_bytes)
    except GenbaError as error:
        report = _refusal(error, begun[-1], order)
    except MemoryError:
        report = _starved(order)
    peak = peak_bytes()
    if report.passed and order.memory_bytes and peak > order.memory_bytes:
        return too_much_memory(peak, order.memory_bytes)
    return report


def _refusal(error: GenbaError, check: Check, order: Order) -> PreflightReport:
    # ONNX Runtime tells an allocation that failed from other faults by its text alone.
    unallocated = isinstance(error, ModelRunError | ModelLoadError) and (
        "Failed to allocate memory" in str(error) or "bad_alloc" in str(error) or "bad allocation" in str(error)
    )
    if unallocated and order.memory_bytes:
        return _starved(order)
    report = PreflightReport(False, str(error), check, asked=order.plan.asked or order.plan.wanted)
    if isinstance(error, FallbackError):
        return msgspec.structs.replace(report, asked=error.wanted, provider=error.ran, placement=error.placement)
    return report


def _starved(order: Order) -> PreflightReport:
    reason = f"it asked for more memory than the {order.memory_bytes >> 20} MiB that are allowed here"
    return PreflightReport(False, reason, "memory", limit=order.memory_bytes)


def _say(message: Step | PreflightReport) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def main(argv: list[str]) -> int:
    """The child: reads an order on stdin, prints its steps and its report on stdout."""
    argparse.ArgumentParser(prog="edge_agent.examination", description=__doc__).parse_args(argv)
    try:
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order, dec_hook=lambda kind, text: kind(text))
    except msgspec.DecodeError as error:
        raise AgentError(f"preflight: the order on stdin cannot be read: {error}") from error
    confine(order.plan, order.memory_bytes)
    if order.parent and os.getppid() != order.parent:
        return 1  # it was killed before this process could ask to die with it
    _say(_report(order))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
