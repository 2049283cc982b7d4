"""Child processes that never outlive their parent, and never linger."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent dies, however that dies. Linux only.

    Source: prctl(2), PR_SET_PDEATHSIG. Called by the child itself: running Python between fork and exec is unsafe
    in a parent that has threads.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    parent = os.environ.get("GENBA_PARENT", "")
    if parent and os.getppid() != int(parent):
        os.kill(os.getpid(), number)  # the parent died before the request was made


def start(arguments: list[str], **options: object) -> "subprocess.Popen[bytes]":
    """Start `python ARGUMENTS` with stderr inherited; it learns who its parent is."""
    environment = {**os.environ, "GENBA_PARENT": str(os.getpid())}
    return subprocess.Popen([sys.executable, *arguments], env=environment, **options)  # type: ignore[call-overload, no-any-return]


def stop_all(children: Iterable["subprocess.Popen[bytes]"], grace_s: float) -> None:
    """End processes: SIGTERM to all, SIGKILL to those that are still there after `grace_s`; each is reaped."""
    alive = [child for child in children if child.poll() is None]
    for child in alive:
        child.terminate()
    deadline = time.monotonic() + grace_s
    for child in alive:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
