"""Power that fails: an agent that is killed just before the Nth thing it does to its disk.

Run as a program it imports the agent once, and then starts one agent after another by fork, each with a point at which
its power fails; nothing of this is in the product. A point is each call that changes names or makes data durable
(open for writing, rename, remove, link, mkdir, rmdir, truncate, fsync), as Python's audit hooks and a wrapper of
os.fsync see it, and each statement of the outbox's database that changes it, begins or commits.

`lossy` is a harder failure: what was not made durable by then is gone. The home is rebuilt beside itself from what was
synced alone: a file holds what its last fsync saw, or nothing; a folder has the names that its last fsync saw. Only
the database is taken as it is, since SQLite syncs out of our sight.
"""

import ctypes
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NAMING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
#: Where such an event says which open folder its first name is in.
_FOLDER = {"os.rename": 2, "os.remove": 1, "os.mkdir": 2, "os.rmdir": 1, "os.link": 2}
_CHANGING = ("BEGIN", "COMMIT", "INSERT", "DELETE", "UPDATE", "CREATE")


class Power:
    """Counts the points of one process and fails at one of them. Every point is written to `trace`, one a line."""

    def __init__(self, home: Path, fail_at: int, trace: Path, *, lossy: bool) -> None:
        self._home, self._fail_at = home, fail_at
        self._synced = Synced(home) if lossy else None
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.RLock()
        self._fsync = os.fsync
        self._count = 0

    def install(self) -> None:
        os.fsync = self._sync  # type: ignore[assignment]
        self._connect = sqlite3.connect
        sqlite3.connect = self._connected  # type: ignore[assignment]
        sys.addaudithook(self._heard)

    def _connected(self, *arguments: Any, **more: Any) -> sqlite3.Connection:
        connection = self._connect(*arguments, **more)
        connection.set_trace_callback(self._stated)
        return connection

    def _sync(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = _path_of(number)
        if self._inside(path):
            self._point("fsync", path)
        self._fsync(number)
        if self._synced is not None and self._inside(path):
            self._synced.saw(number)

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & _WRITING:
            self._named(event, args[0], -1)
        elif event in _NAMING:
            self._named(event, args[0], args[_FOLDER[event]] if event in _FOLDER else -1)

    def _named(self, event: str, path: Any, folder: int) -> None:
        if isinstance(path, int):
            path = _path_of(path)
        elif folder >= 0:
            path = f"{_path_of(folder)}/{os.fsdecode(path)}"
        if self._inside(os.fsdecode(path)):
            self._point(event, os.fsdecode(path))

    def _stated(self, statement: str) -> None:
        if statement.lstrip().upper().startswith(_CHANGING):
            self._point("sqlite", " ".join(statement.split())[:60])

    def _inside(self, path: str) -> bool:
        return path.startswith(f"{self._home}/") or path == str(self._home)

    def _point(self, event: str, what: str) -> None:
        with self._lock:
            self._count += 1
            os.write(self._trace, f"{self._count} {event} {what.removeprefix(str(self._home))}\n".encode())
            if self._count == self._fail_at:
                if self._synced is not None:
                    self._synced.rebuild(self._home.with_name(f"{self._home.name}.lost"))
                os.kill(os.getpid(), signal.SIGKILL)


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


class Synced:
    """What of a folder would be there after a power cut, at the least."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, tuple[int, bool]]] = {}
        self._held: list[int] = []  # an inode that is held open gives its number to no other
        for path in [home, *home.rglob("*")]:
            descriptor = os.open(path, os.O_RDONLY)
            self.saw(descriptor)
            os.close(descriptor)

    def saw(self, descriptor: int) -> None:
        """Remember a file or folder as it is now."""
        held = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        self._held.append(held)
        number = os.fstat(held).st_ino
        if os.path.isdir(f"/proc/self/fd/{held}"):  # noqa: PTH112
            names = {}
            for entry in os.scandir(held):
                names[entry.name] = (entry.inode(), entry.is_dir(follow_symlinks=False))
                if names[entry.name][1]:
                    self._folders.setdefault(entry.inode(), {})
            self._folders[number] = names
        else:
            self._files[number] = os.pread(held, os.fstat(held).st_size, 0)

    def rebuild(self, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        self._rebuild(self._home.stat().st_ino, self._home, target)

    def _rebuild(self, number: int, source: Path, target: Path) -> None:
        target.mkdir()
        for name, (inode, is_folder) in self._folders[number].items():
            if is_folder:
                self._rebuild(inode, source / name, target / name)
            elif not name.startswith("outbox.db"):
                (target / name).write_bytes(self._files.get(inode, b""))
        for path in source.glob("outbox.db*"):
            shutil.copyfile(path, target / path.name)


def _run(order: dict[str, Any]) -> int:
    from genba import main

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    home = Path(order["home"])
    Power(home, order["fail_at"], Path(order["trace"]), lossy=order["lossy"]).install()
    return main(["agent", "run", "--home", str(home)])


def _serve() -> None:
    """Read orders, one JSON line each; answer each with the agent's process, and again with its exit status."""
    import onnxruntime  # noqa: F401 - loaded once, for all that are forked

    from edge_agent import assembly, hardware
    from edge_agent.metadata_here import read_here

    # In this process, where its writes are points; tests/edge_agent/test_metadata_process.py cuts the child's power.
    assembly.read_in_child = read_here  # type: ignore[assignment]
    probe = hardware.read_probe(Path.cwd())  # the machine is looked at once, for all that are forked
    hardware.read_probe = lambda folder: probe
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 70
            try:
                status = _run(order)
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
