"""A command run to its end and measured from outside: wall time, processor time, memory of all of its processes."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Seconds between two looks at the memory. A look costs the machine some milliseconds.
EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Watched:
    """What one command took.

    Attributes:
        wall_s: from before it was started until it had ended.
        cpu_s: of it and of those of its children that it waited for.
        peak_bytes: most memory that its processes held at one look, shared pages counted once (PSS).
        status: its exit status; negative: the signal that ended it.
        late: it was killed at its limit.
        told: the end of what it wrote.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    status: int
    late: bool
    told: str

    @property
    def failure(self) -> str:
        """Why it is no success, in one line; empty if it is one."""
        if self.status == 0:
            return ""
        if self.late:
            return f"killed after {self.wall_s:.0f} s"
        last = (self.told.strip().splitlines() or ["it wrote nothing"])[-1]
        return f"exit status {self.status} after {self.wall_s:.0f} s: {last[:300]}"


def watch(command: Sequence[str], folder: Path, limit_s: float, variables: Mapping[str, str] | None = None) -> Watched:
    """Run a command in `folder`, and kill it and its children at the limit.

    Args:
        limit_s: from its start.
        variables: its environment; default: this process's.
    """
    log = folder / "told.txt"
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(command), cwd=folder, env=None if variables is None else dict(variables), stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        ended, late, peak = threading.Event(), threading.Event(), [0]
        watcher = threading.Thread(target=_look, args=(process.pid, began + limit_s, ended, late, peak))
        watcher.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - began
        finally:
            ended.set()
            watcher.join()
            _kill(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    told = log.read_bytes()[-20_000:].decode(errors="replace")
    return Watched(wall_s, usage.ru_utime + usage.ru_stime, peak[0], process.returncode, late.is_set(), told)


def _look(pid: int, deadline: float, ended: threading.Event, late: threading.Event, peak: list[int]) -> None:
    while not ended.wait(EVERY_S):
        peak[0] = max(peak[0], _memory(pid))
        if time.monotonic() > deadline:
            late.set()
            _kill(pid)


def _memory(pid: int) -> int:
    held = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for each in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                held += each.memory_full_info().pss
    return held


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
