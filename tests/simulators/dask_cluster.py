"""A real Dask cluster on loopback: a scheduler and workers, each a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class DaskCluster:
    """`dask scheduler` and `dask worker`; `file` is the scheduler file.

    Args:
        options: more options of both commands, such as those of TLS.
        environment: more variables of both.
    """

    def __init__(
        self, folder: Path, workers: int = 2, options: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "scheduler.json"
        self._options = options
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            **(environment or {}),
        }
        self._log = (folder / "log").open("wb")
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        self.workers = [self.add_worker() for _ in range(workers)]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def address(self) -> str:
        over_at = time.monotonic() + 30
        while not self.file.exists():
            assert time.monotonic() < over_at, self.log
            time.sleep(0.05)
        return str(json.loads(self.file.read_text())["address"])

    def add_worker(self, environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        arguments = ["--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--memory-limit", "1GiB"]
        folder = ["--local-directory", str(self.folder)]
        return self._start("worker", *arguments, *folder, environment=environment)

    def _start(
        self, verb: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", verb, "--scheduler-file", str(self.file), "--no-dashboard"]
        return subprocess.Popen(
            [*command, *arguments, *self._options],
            cwd=self.folder,  # `-m` puts it on the path
            env={**self._environment, **(environment or {})},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def close(self) -> None:
        for child in (*self.workers, self.scheduler):
            child.kill()
            child.wait()
        self._log.close()
