"""The preflight: a release proves itself on this hardware, in a process of its own, before it may serve.

`python -m edge_agent.preflight` is the child: it loads the model, runs the golden vectors, measures, and prints one
JSON report. `prove` is the parent: it starts the child and turns whatever becomes of it, a crash, a hang or a
report, into a verdict.
"""

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.errors import AgentError, ReleaseRefusedError
from edge_agent.golden import GoldenVectors, compare, read_golden
from edge_agent.inference import CPU, Model, Provider
from edge_agent.releases import read_release
from protocols.errors import GenbaError
from protocols.manifest import Manifest

_LATENCY_RUNS, _LATENCY_S = 300, 1.0
_POLL_S = 0.02
#: Address space beyond the memory limit: thread stacks and mapped libraries, which take no memory until used.
_DATA_MARGIN = 1024 * 1024 * 1024


class PreflightReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child found. `placement`: provider -> nodes; times in ms for one row; memory is the peak's growth."""

    passed: bool
    reason: str | None = None
    provider: str | None = None
    placement: dict[str, int] = {}
    rows: int = 0
    largest_difference: float = 0.0
    memory_bytes: int = 0
    load_s: float = 0.0
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    onnxruntime: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a preflight may take, in seconds, and how much memory; 0 bytes: no limit."""

    seconds: float
    memory_bytes: int


class _Order(msgspec.Struct, frozen=True):
    """What the parent asks of the child, on its stdin."""

    folder: str
    providers: list[str | tuple[str, dict[str, Any]]]
    allow_fallback: bool
    threads: int
    memory_bytes: int


def prove(
    folder: Path,
    providers: Sequence[Provider],
    limits: Limits,
    *,
    allow_fallback: bool = False,
    threads: int = 0,
    command: Sequence[str] = (sys.executable, "-m", "edge_agent.preflight"),
) -> PreflightReport:
    """Run the preflight of the release in `folder` and return its report; never raises for what the child does."""
    order = msgspec.json.encode(_Order(str(folder), list(providers), allow_fallback, threads, limits.memory_bytes))
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        asked.write(order)
        asked.seek(0)
        child = subprocess.Popen(list(command), stdin=asked, stdout=out, stderr=err, start_new_session=True)
        try:
            killed = _watch(child, limits)
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        err.seek(0, 2)
        err.seek(max(0, err.tell() - 2000))
        said = err.read().decode(errors="replace").strip().splitlines()
        if killed:
            return PreflightReport(False, killed)
        return _verdict(child.returncode, out.read(100_000), said[-1] if said else "")


def _watch(child: "subprocess.Popen[bytes]", limits: Limits) -> str | None:
    """Wait for the child within its limits; return why it must be killed, or None when it ended by itself."""
    import psutil

    deadline = time.monotonic() + limits.seconds
    process = psutil.Process(child.pid)
    while child.poll() is None:
        if time.monotonic() > deadline:
            return f"the preflight hung: no verdict within {limits.seconds:g} s"
        try:
            used = process.memory_info().rss
        except psutil.Error:
            used = 0
        if limits.memory_bytes and used > limits.memory_bytes:
            return f"the preflight took {used >> 20} MiB of memory, and {limits.memory_bytes >> 20} MiB are allowed"
        try:
            child.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            continue
    return None


def _verdict(code: int, out: bytes, last_words: str) -> PreflightReport:
    if code < 0:
        return PreflightReport(False, f"the model killed its process ({_signal_name(-code)}) {last_words}".strip())
    try:
        return msgspec.json.decode(out, type=PreflightReport)
    except msgspec.DecodeError:
        return PreflightReport(False, f"the preflight ended with status {code} and no report: {last_words}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def examine(
    folder: Path, providers: Sequence[Provider], *, allow_fallback: bool = False, threads: int = 0
) -> PreflightReport:
    """Load and try a release in this process.

    Raises:
        GenbaError: it must not run here; the text says why.
    """
    import onnxruntime

    manifest = read_release(folder)
    golden = read_golden(folder / "golden.npz", manifest)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew here
    before = _memory_bytes("VmRSS")
    start = time.perf_counter()
    model = Model(folder, manifest, providers=providers, allow_fallback=allow_fallback, threads=threads)
    load_s = time.perf_counter() - start
    largest = _try_golden(model, manifest, golden)
    p50, p99 = _latency_ms(model, golden)
    return PreflightReport(
        passed=True,
        provider=model.provider,
        placement=model.placement,
        rows=len(golden.inputs[0]),
        largest_difference=largest,
        memory_bytes=max(0, _memory_bytes("VmHWM") - before),
        load_s=round(load_s, 4),
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        onnxruntime=onnxruntime.__version__,
    )


def _try_golden(model: Model, manifest: Manifest, golden: GoldenVectors) -> float:
    tolerance = manifest.providers.get(model.provider)
    if tolerance is None:
        raise ReleaseRefusedError(
            f"{manifest.release} is not proven on {model.provider}, only on {', '.join(manifest.providers)}"
        )
    together = model.run(golden.inputs)
    alone = model.run([column[:1] for column in golden.inputs])
    compare(manifest, [output[:1] for output in golden.outputs], alone, tolerance)
    return compare(manifest, golden.outputs, together, tolerance)


def _latency_ms(model: Model, golden: GoldenVectors) -> tuple[float, float]:
    """Return the 50th and 99th percentile of one row's run."""
    import numpy as np

    times, deadline = [], time.perf_counter() + _LATENCY_S
    rows = len(golden.inputs[0])
    for index in range(_LATENCY_RUNS):
        row = [column[index % rows : index % rows + 1] for column in golden.inputs]
        start = time.perf_counter()
        model.run(row)
        times.append(time.perf_counter() - start)
        if time.perf_counter() > deadline:
            break
    p50, p99 = np.quantile(np.array(times[min(5, len(times) - 1) :]) * 1000, [0.5, 0.99])
    return round(float(p50), 4), round(float(p99), 4)


def _memory_bytes(field: str) -> int:
    """Return VmRSS or VmHWM of this process; getrusage's peak would include the parent's, from before the exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _confine(order: _Order) -> None:
    """Die with the parent, give way to what serves, be the first that a full memory takes, keep to the limit."""
    os.nice(5)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    on_cpu = all((name if isinstance(name, str) else name[0]) == CPU for name in order.providers)
    if order.memory_bytes and on_cpu:  # accelerators reserve address space far beyond what they use
        limit = order.memory_bytes + _DATA_MARGIN
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(argv: list[str]) -> int:
    """The child: reads an order on stdin, prints a report on stdout."""
    argparse.ArgumentParser(prog="edge_agent.preflight", description=__doc__).parse_args(argv)
    try:
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    except msgspec.DecodeError as error:
        raise AgentError(f"preflight: the order on stdin cannot be read: {error}") from error
    _confine(order)
    try:
        report = examine(
            Path(order.folder), order.providers, allow_fallback=order.allow_fallback, threads=order.threads
        )
    except GenbaError as error:
        report = PreflightReport(False, str(error))
    except MemoryError:
        report = PreflightReport(False, f"the preflight needs more than {order.memory_bytes >> 20} MiB of memory")
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
