"""What memory a process has of its own, and a limit to it.

Source: proc(5), /proc/PID/status and clear_refs; getrlimit(2), RLIMIT_DATA: since Linux 4.7 it counts private
anonymous mappings too.
"""

import contextlib
import resource
from pathlib import Path


def own_bytes(pid: int | str = "self") -> int:
    """Resident memory that is no file's: what a process made itself, or shares with the one that it was forked from."""
    fields = _status(pid)
    return fields.get("RssAnon", fields.get("VmRSS", 0)) + fields.get("RssShmem", 0)


class Peak:
    """The most memory that this process holds of its own from now on, beyond what it holds now."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        self._files, self._resident = self._now()

    def bytes_(self) -> int:
        files, resident = self._now()
        peak = max(resident, _status("self").get("VmHWM", 0))
        return max(0, peak - self._resident - max(0, files - self._files))

    @staticmethod
    def _now() -> tuple[int, int]:
        fields = _status("self")
        return fields.get("RssFile", 0), fields.get("VmRSS", 0)


def cap_memory(more_bytes: int) -> None:
    """Let this process allocate so much more than it has: beyond it, allocations fail and Python raises MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _status("self").get("VmData", 0) + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _status(pid: int | str) -> dict[str, int]:
    """The memory fields of a process, in bytes; none where it is no more."""
    fields = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if rest.endswith("kB"):
                fields[name] = int(rest.split()[0]) * 1024
    return fields
