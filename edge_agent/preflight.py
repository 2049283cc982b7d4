"""The preflight: a release proves itself on this hardware, in a process of its own, before it may serve.

`prove` is the parent: it starts the child, `edge_agent.examination`, within limits of time and memory, and turns
whatever becomes of it, a crash, a hang or a report, into a verdict that names the check, the figure and the limit.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from edge_agent.session_plan import SessionPlan

#: In this order: does it fit (before it is fetched), files read, an engine compiled where a provider makes one, session
#: made on the right provider, golden vectors, latency, memory; `start` is the child's own beginning, and `time` the
#: limit on all of it.
Check = Literal["fit", "start", "files", "build", "load", "golden", "latency", "memory", "time"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_POLL_S = 0.02
_OUT_LIMIT_BYTES = 100_000
_DOING: dict[Check, str] = {
    "start": "before it could begin",
    "files": "while its files were read",
    "build": "while its engine was compiled",
    "load": "while the model was loaded",
    "golden": "while it ran its golden vectors",
    "latency": "while it was timed",
}
#: What a signal says of a model, for a person.
_CAUSES = {
    "SIGSEGV": "it reached for memory that is not its own",
    "SIGBUS": "it reached for memory that is not there, or its file was cut short",
    "SIGILL": "an instruction that this processor does not have; it was built for another",
    "SIGABRT": "a library gave up",
    "SIGFPE": "an arithmetic fault",
    "SIGKILL": "from outside; this machine may be short of memory",
}


class PreflightReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child found. `asked`: the provider that was wanted, `provider` the one that ran most nodes, `placement`
    provider -> nodes; times in ms for one row; memory is the peak's growth. `tuned`: the plan that was chosen, and why.

    Of a provider that compiles: `engine` is the compiled code's key, `build_s` how long that took (None: it was there
    before), and `reused` whether a session takes it as it is; False: the provider compiles at each load again.

    Where it did not pass, `check` is what failed, and `figure` and `limit` what was measured beside what is
    allowed, in the check's unit: bytes (memory), ms (latency), s (time).
    """

    passed: bool
    reason: str | None = None
    check: Check | None = None
    figure: float | None = None
    limit: float | None = None
    asked: str | None = None
    provider: str | None = None
    placement: dict[str, int] = {}
    rows: int = 0
    largest_difference: float = 0.0
    memory_bytes: int = 0
    load_s: float = 0.0
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    onnxruntime: str = ""
    engine: str | None = None
    build_s: float | None = None
    reused: bool | None = None
    tuned: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a preflight may take, in seconds, and how much memory; 0 bytes: no limit."""

    seconds: float
    memory_bytes: int


class Order(msgspec.Struct, frozen=True):
    """What the parent asks of the child, on its stdin. `build`: only have the engine compiled, in the plan's cache.

    `parent`: the process that asks; a child that finds itself without it ends.
    """

    folder: Path
    plan: SessionPlan
    memory_bytes: int
    build: bool = False
    parent: int = 0


class Step(msgspec.Struct, frozen=True):
    """A line that the child prints when a check begins, so that a crash has a place."""

    check: Check


def too_much_memory(used_bytes: int, limit_bytes: int) -> PreflightReport:
    """Return the verdict on a model that outgrew what this device gives it."""
    reason = f"it took {used_bytes >> 20} MiB of memory, and {limit_bytes >> 20} MiB are allowed here"
    return PreflightReport(False, reason, "memory", used_bytes, limit_bytes)


def prove(
    folder: Path,
    plan: SessionPlan,
    limits: Limits,
    *,
    build: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
    command: Sequence[str] = (sys.executable, "-m", "edge_agent.examination"),
) -> PreflightReport:
    """Run the preflight of the release in `folder` and return its report; never raises for what the child does.

    Args:
        build: only have its engine compiled, in the plan's cache.
        cancelled: whether nobody wants the report any more; the child then ends at once.
    """
    order = msgspec.json.encode(Order(folder, plan, limits.memory_bytes, build, os.getpid()), enc_hook=str)
    with _memory_file("order") as asked, _memory_file("out") as out, _memory_file("err") as err:
        asked.write(order)
        asked.seek(0)
        child = subprocess.Popen(list(command), stdin=asked, stdout=out, stderr=err, start_new_session=True)
        try:
            killed = _watch(child, limits, cancelled)
        finally:
            child.kill()
            child.wait()
        if killed is not None and killed.check == "time":
            check = _heard(out)[0]
            return msgspec.structs.replace(killed, reason=f"{killed.reason}; it hung {_DOING.get(check, '')}".rstrip())
        return killed or _verdict(child.returncode, out, err)


def _memory_file(name: str) -> BinaryIO:
    """Return a file that needs no disk, which may be full."""
    return os.fdopen(os.memfd_create(name), "w+b")


def _watch(child: "subprocess.Popen[bytes]", limits: Limits, cancelled: Callable[[], bool]) -> PreflightReport | None:
    """Wait for the child within its limits; return why it must be killed, or None when it ended by itself."""
    import psutil

    deadline = time.monotonic() + limits.seconds
    process = psutil.Process(child.pid)
    while child.poll() is None:
        if cancelled():
            return PreflightReport(False, "it is not wanted any more")
        if time.monotonic() > deadline:
            reason = f"no verdict within {limits.seconds:g} s"
            return PreflightReport(False, reason, "time", limits.seconds, limits.seconds)
        try:
            used = process.memory_info().rss
        except psutil.Error:
            used = 0
        if limits.memory_bytes and used > limits.memory_bytes:
            return too_much_memory(used, limits.memory_bytes)
        try:
            child.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            continue
    return None


def _verdict(code: int, out: BinaryIO, err: BinaryIO) -> PreflightReport:
    check, report = _heard(out)
    if code < 0:
        name = _signal_name(-code)
        cause = f": {_CAUSES[name]}" if name in _CAUSES else ""
        return PreflightReport(False, f"the model killed its process ({name}{cause}) {_DOING[check]}", check)
    if report is not None and report.check in ("build", "load") and (fault := _provider_fault(err)):
        return msgspec.structs.replace(report, reason=f"{report.reason} (ONNX Runtime: {fault})")
    if report is None:
        reason = f"the preflight ended with status {code} and no report: {_last_words(err)}"
        return PreflightReport(False, reason.rstrip(": "), check)
    return report


def _heard(out: BinaryIO) -> tuple[Check, PreflightReport | None]:
    """Return the check that the child began last, and its report if it got that far."""
    check: Check = "start"
    out.seek(0)
    for line in out.read(_OUT_LIMIT_BYTES).splitlines():
        try:
            said = msgspec.json.decode(line, type=dict[str, Any])
            if "passed" in said:
                return check, msgspec.convert(said, PreflightReport)
            check = msgspec.convert(said, Step).check
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # a library that prints
    return check, None


def _last_words(err: BinaryIO) -> str:
    err.seek(0, 2)
    err.seek(max(0, err.tell() - 2000))
    lines = err.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _provider_fault(err: BinaryIO) -> str:
    """Return what ONNX Runtime says of a provider that it could not set up, which it tells its log alone."""
    err.seek(0)
    text = err.read(_OUT_LIMIT_BYTES).decode(errors="replace")
    faults = [line for line in text.splitlines() if "[E:onnxruntime:" in line]
    if not faults:
        return ""
    fault = _COLOUR.sub("", faults[0])
    fault = fault.partition("[E:onnxruntime:")[2].partition("] ")[2]
    fault = re.split(r" : FAIL : |\[ERROR\] ", fault)[-1]
    return re.sub(r"(?<= )/\S+/(?=\S)", "", fault).strip()[:300]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
