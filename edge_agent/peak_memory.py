"""How much memory this process took since a moment, with what the kernel or the container shows of it.

Source: proc(5), /proc/pid/status and /proc/pid/clear_refs; the latter needs CONFIG_PROC_PAGE_MONITOR, and a sandbox
that makes its own /proc may show neither it nor VmHWM.
"""

import resource
from pathlib import Path

_PROC = Path("/proc/self")


class PeakMemory:
    """The growth of this process's memory; the moment that counts is when it is made.

    Args:
        proc: where the kernel tells of this process; a folder of files in tests.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._reset = self._set_back()
        self._before, self._peak_before = self._now(), peak_bytes(proc)

    def growth_bytes(self) -> int:
        """Return what came on top at most; what came on top now, where the peak is from before that moment."""
        peak = peak_bytes(self._proc)
        most = peak if self._reset or peak > self._peak_before else self._now()
        return max(0, most - self._before)

    def _set_back(self) -> bool:
        try:
            (self._proc / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _now(self) -> int:
        return _field(self._proc, "VmRSS") or peak_bytes(self._proc)


def peak_bytes(proc: Path = _PROC) -> int:
    """Return the most that this process ever had. getrusage's figure includes the parent's, from before the exec."""
    return _field(proc, "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _field(proc: Path, name: str) -> int | None:
    try:
        lines = (proc / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
