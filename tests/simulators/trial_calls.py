"""Calls of every temper, for whoever runs calls in other processes; `material` is what `load` gives."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Material = dict[str, Any]


def load(folder: Path) -> Material:
    """The material: an array that all workers share."""
    return {"values": np.load(folder / "parts" / "values.npy", mmap_mode="r"), "loader": os.getpid()}


def fail_to_load() -> Material:
    raise FileNotFoundError("no such material")


def die_while_loading() -> Material:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def add(material: Material, number: float) -> float:
    return float(material["values"].sum()) + number


def process(material: Material) -> int:
    return os.getpid()


def loader(material: Material) -> int:
    return int(material["loader"])


def threads(material: Material) -> list[int]:
    """How many threads each BLAS and OpenMP library would use."""
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info()]


def modules(material: Material) -> list[str]:
    return sorted(sys.modules)


def wait(material: Material, seconds: float, mark: str | None = None) -> float:
    """Sleep; leave the process's id in `mark` first."""
    if mark is not None:
        path = Path(mark)
        path.with_suffix(".part").write_text(str(os.getpid()))
        path.with_suffix(".part").rename(path)
    time.sleep(seconds)
    return seconds


def wait_and_tell(material: Material, seconds: float) -> int:
    """Sleep; return which process of its machine serves this worker."""
    time.sleep(seconds)
    return parent(os.getppid())


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_grandparent(material: Material) -> None:
    """Kill what made the process that made this one, which must not be the test itself."""
    os.kill(parent(os.getppid()), signal.SIGKILL)
    time.sleep(60)


def start_another(material: Material, mark: str) -> None:
    """Start a process of its own, leave its id, and wait for it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    path = Path(mark)
    path.with_suffix(".part").write_text(str(child.pid))
    path.with_suffix(".part").rename(path)
    child.wait()


def compute_without_a_pause(material: Material) -> None:
    """A loop in C that no signal handler of Python interrupts."""
    sum(range(10**13))


def allocate(material: Material, megabytes: int) -> int:
    """Fill so much memory."""
    return int(np.ones(megabytes * 2**17).sum())


def allocate_shared(material: Material, megabytes: int) -> None:
    """Fill memory that RLIMIT_DATA does not count, and stay."""
    import mmap

    held = mmap.mmap(-1, megabytes * 2**20)
    for page in range(0, len(held), 4096):
        held[page] = 1
    time.sleep(300)


def crash(material: Material) -> None:
    ctypes.string_at(0)


def leave(material: Material, status: int) -> None:
    os._exit(status)


def exit_politely(material: Material) -> None:
    sys.exit("enough")


def divide(material: Material) -> float:
    return 1 / 0


def give_lambda(material: Material) -> object:
    return lambda: 1


class Unreadable:
    """Pickles, and does not come back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return divide, ({},)


def give_unreadable(material: Material) -> Unreadable:
    return Unreadable()


def give_bytes(material: Material, count: int) -> bytes:
    return bytes(count)


def write_to_stdout(material: Material) -> None:
    os.write(1, b"a worker's word\n")
    os.write(2, b"a worker's word\n")


def raise_interrupt(material: Material) -> None:
    """What Ctrl-C in a terminal sends to each process of its group."""
    os.kill(os.getpid(), signal.SIGINT)


def keep_file(material: Material) -> str:
    """Leave a temporary file behind."""
    import tempfile

    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    return path
