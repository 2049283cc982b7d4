"""The demo's operator: runs `genba` commands as processes, and waits until things hold."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from protocols.errors import GenbaError

T = TypeVar("T")


class StepError(GenbaError):
    """A step of the demo did not hold."""


class Processes:
    """The long-running commands; `stop` ends each of them, whatever state it is in."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str) -> None:
        """Start `genba ARGUMENTS`; what it prints goes to its log file."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "genba", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Raise StepError, with the last words of its log, if one of them has died."""
        for name, process in self._running.items():
            if process.poll() is not None:
                words = self.log(name).read_text(errors="replace").strip().splitlines()[-3:]
                raise StepError(f"{name} ended with status {process.returncode}: {' | '.join(words)}")

    def stop(self) -> None:
        """SIGTERM to all, agents first; after 10 s SIGKILL to the process group of what is left."""
        for process in reversed(list(self._running.values())):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()


def run_command(*arguments: str) -> str:
    """Run one `genba` command to its end and return what it printed.

    Raises:
        StepError: it failed; with its own words.
    """
    done = subprocess.run(
        [sys.executable, "-m", "genba", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise StepError(f"genba {' '.join(arguments[:2])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_for(what: str, timeout_s: float, look: Callable[[], T | None], check: Callable[[], None]) -> T:
    """Look until there is something, and return it.

    Raises:
        StepError: time is up; or `check`, called between the looks, raised.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        check()
        time.sleep(0.15)
    raise StepError(f"waited {timeout_s:.0f} s for {what}, in vain")
