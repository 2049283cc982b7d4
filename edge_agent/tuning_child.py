"""The tuner's child, `python -m edge_agent.tuning_child`: measures plan after plan, each in a process of its own.

It has loaded what they all need, so that each costs a fork and not a start; a plan that crashes, or takes more memory
than it may, ends its own process alone. It reads an order on stdin and prints each measurement as a line.
"""

import argparse
import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable

import msgspec

from edge_agent.errors import AgentError
from edge_agent.examination import confine
from edge_agent.golden import read_golden
from edge_agent.measurement import measure
from edge_agent.model_file import check_model_file
from edge_agent.releases import read_release
from edge_agent.session_plan import SessionPlan
from edge_agent.sessions import save_graph
from edge_agent.tuner import TuningOrder
from edge_agent.tuning import STAGES, Measured, choose, contenders, variations
from protocols.errors import GenbaError

_LONGEST_LINE = 60_000
#: Times that the best are measured again.
_ROUNDS = 2


class Tuning:
    """One run: measures until the stages or the time are at an end."""

    def __init__(self, order: TuningOrder, say: Callable[[Measured], None]) -> None:
        import onnxruntime  # noqa: F401 - every fork finds it loaded

        self._order, self._say = order, say
        self._ends = time.monotonic() + order.seconds
        self._longest_s = 0.0
        self._measured: list[Measured] = []
        self._manifest = read_release(order.folder)
        self._golden = read_golden(order.folder / "golden.npz", self._manifest)
        check_model_file(order.folder / "model.onnx", order.memory_bytes)

    def run(self) -> None:
        if not self._try(self._order.plan) or self._measured[0].reason is not None:
            return
        for stage in STAGES:
            best = choose(self._measured, self._order.bounds) or self._measured[0]
            plans = variations(stage, best.plan, self._order.space)
            if stage == "mapping" and plans:
                plans = self._mapped(plans)
            for plan in plans:
                if not self._try(plan):
                    return
        for _ in range(_ROUNDS):
            for plan in contenders(self._measured, self._order.bounds):
                if not self._try(plan):
                    return

    def _mapped(self, plans: list[SessionPlan]) -> list[SessionPlan]:
        """Have the file made that these plans map; none of them where it cannot be."""
        path = self._order.mapped
        made = self._apart(plans[0], lambda: save_graph(self._order.folder, self._manifest, plans[0], path))
        if made is None or made.reason is not None:
            return []
        return [msgspec.structs.replace(plan, mapped=path) for plan in plans]

    def _try(self, plan: SessionPlan) -> bool:
        """Measure a plan; return False where there is no more time."""
        left_s = self._ends - time.monotonic()
        if self._measured and left_s < self._longest_s:
            return False
        start = time.monotonic()
        found = self._apart(plan, lambda: measure(self._order.folder, self._manifest, self._golden, plan))
        self._longest_s = max(self._longest_s, time.monotonic() - start)
        if found is None:
            return False
        self._measured.append(found)
        self._say(found)
        return True

    def _apart(self, plan: SessionPlan, work: Callable[[], Measured | None]) -> Measured | None:
        """Return what the work gives in a process of its own, or how that process ended; None: out of time."""
        inside, outside = os.pipe()
        gc.freeze()  # so that the fork's collector touches no page that it shares
        child = os.fork()
        if child == 0:
            _work(outside, plan, work)
        os.close(outside)
        try:
            said = _read(inside, self._ends)
        finally:
            os.close(inside)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)  # it has ended, or it hangs
            status = os.waitpid(child, 0)[1]
        if said is None:
            return None
        if said:
            return msgspec.json.decode(said, type=Measured, dec_hook=lambda kind, text: kind(text))
        number = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-number).name if number < 0 else f"exit status {number}"
        return Measured(plan=plan, reason=f"it killed its process ({how})")


def _work(outside: int, plan: SessionPlan, work: Callable[[], Measured | None]) -> None:
    """The fork: do the work, tell, and end without any of what ends a Python process."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    try:
        found = work() or Measured(plan=plan)
    except GenbaError as error:
        found = Measured(plan=plan, reason=str(error))
    with contextlib.suppress(BrokenPipeError):
        os.write(outside, msgspec.json.encode(found, enc_hook=str)[:_LONGEST_LINE])
    os._exit(0)


def _read(inside: int, ends: float) -> bytes | None:
    """Return all that comes until the other side closes; None when the time is over before."""
    data = bytearray()
    while True:
        left_s = ends - time.monotonic()
        if left_s <= 0 or not select.select([inside], [], [], left_s)[0]:
            return None
        part = os.read(inside, 65536)
        if not part:
            return bytes(data)
        data += part


def _say(found: Measured) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(found, enc_hook=str) + b"\n")
    sys.stdout.buffer.flush()


def main(argv: list[str]) -> int:
    """The child: reads an order on stdin, prints what it measures."""
    argparse.ArgumentParser(prog="edge_agent.tuning_child", description=__doc__).parse_args(argv)
    try:
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=TuningOrder, dec_hook=lambda kind, text: kind(text))
    except msgspec.DecodeError as error:
        raise AgentError(f"tuning: the order on stdin cannot be read: {error}") from error
    confine(order.plan, order.memory_bytes)
    try:
        Tuning(order, _say).run()
    except GenbaError as error:
        _say(Measured(plan=order.plan, reason=str(error)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
