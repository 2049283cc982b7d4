"""Waiting for calls, files and processes."""

import time
from pathlib import Path

from trainer.workers import Ended, Workers


def ends(workers: Workers, count: int = 1, within_s: float = 30) -> dict[int, Ended]:
    """Wait for so many calls to end."""
    found: dict[int, Ended] = {}
    over_at = time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < over_at, f"{len(found)} of {count} ended: {found}"
        for ended in workers.wait(0.5):
            assert ended.ticket not in found
            found[ended.ticket] = ended
    return found


def end(workers: Workers, within_s: float = 30) -> Ended:
    (ended,) = ends(workers, 1, within_s).values()
    return ended


def begun(workers: Workers, path: Path, within_s: float = 30) -> str:
    """Wait until a call that leaves a file runs; return the file's text."""
    over_at = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < over_at, f"no {path}"
        assert workers.wait(0.02) == []
    return path.read_text()


def appeared(path: Path, within_s: float = 20) -> str:
    """Wait for a file; return its text."""
    over_at = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < over_at, f"no {path}"
        time.sleep(0.01)
    return path.read_text()


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int, within_s: float = 5) -> bool:
    over_at = time.monotonic() + within_s
    while alive(pid):
        if time.monotonic() > over_at:
            return False
        time.sleep(0.01)
    return True
