"""Limits that a container or a systemd unit puts on this process: cores and memory, cgroup versions 2 and 1.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst, `cpu.max`, `memory.max`; cgroup-v1/memory.rst.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Version 1 writes "no limit" as a number near 2**63.
_NO_LIMIT = 1 << 60


class Limits(NamedTuple):
    """What may be used. None: no limit. `memory_used_bytes` belongs to the group that sets the memory limit."""

    cores: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int = 0


def read_limits(root: Path = Path("/")) -> Limits:
    """Return the tightest limits of the groups that this process is in, from its own up to the top.

    Args:
        root: where /proc and /sys are; a folder of files in tests.
    """
    cores: float | None = None
    memory: tuple[int, int] | None = None
    for folder in _folders(root):
        found = _cores(folder)
        if found is not None and (cores is None or found < cores):
            cores = found
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        if limit is not None and limit < _NO_LIMIT and (memory is None or limit < memory[0]):
            memory = limit, _number(folder, "memory.current", "memory.usage_in_bytes") or 0
    return Limits(cores, *(memory or (None, 0)))


def counts_memory(root: Path = Path("/")) -> bool | None:
    """Return whether the kernel counts memory per group, without which no limit of it holds; None: it does not say.

    Raspberry Pi OS boots with `cgroup_disable=memory`. /proc/cgroups lists controllers of version 1 alone, which newer
    kernels may be built without.
    """
    controllers = read_text(root / "sys/fs/cgroup/cgroup.controllers").split()
    if controllers:
        return "memory" in controllers
    lines = [line.split() for line in read_text(root / "proc/cgroups").splitlines()]
    return next((words[-1] == "1" for words in lines if words[:1] == ["memory"]), None)


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups, innermost first, those of each version 1 controller in turn."""
    mount = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        wanted = [name for name in controllers.split(",") if name in ("cpu", "memory")]
        if controllers and not wanted:
            continue
        top = mount / wanted[0] if wanted else mount
        levels = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(levels), -1, -1):
            yield top.joinpath(*levels[:depth])


def _cores(folder: Path) -> float | None:
    words = read_text(folder / "cpu.max").split() or [
        read_text(folder / "cpu.cfs_quota_us").strip(),
        read_text(folder / "cpu.cfs_period_us").strip(),
    ]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _number(folder: Path, *names: str) -> int | None:
    for name in names:
        text = read_text(folder / name).strip()
        if text.isdigit():
            return int(text)
    return None


def read_text(path: Path) -> str:
    """Return a kernel file's text, "" where the kernel or the sandbox does not show it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
