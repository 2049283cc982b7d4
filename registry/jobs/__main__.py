"""`python -m registry.jobs --home DIR`: the worker, in a process of its own."""

import argparse
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from protocols.errors import GenbaError
from registry.jobs.worker import Worker
from registry.logs import start_logs
from registry.processes import die_with_parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.jobs", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the registry's home")
    home: Path = parser.parse_args().home
    die_with_parent()
    start_logs("jobs")
    try:
        worker = Worker(home)
        (home / "run").mkdir(exist_ok=True)
        with FileLock(home / "run" / "jobs.lock", timeout=5):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: worker.stop())
            worker.run()
    except Timeout:
        print(f"genba: {home} has another worker already; stop that one first", file=sys.stderr)
        return 1
    except GenbaError as error:
        print(f"genba: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
