"""Attacks on an update, tried and refused: Uptane's by name, the public Uptane vectors, the TUF conformance suite.

The limit is the number tried. What is done and checked: tests/edge_agent/test_uptane_attacks.py, tests/conformance/.
The public suites are fetched, or taken from the checkouts that TUF_VECTORS and TUF_CONFORMANCE name; where neither can
be, the line says so.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTACKS = "tests/edge_agent/test_uptane_attacks.py"
CANNOT = 77


def ran(*command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def attacks() -> bool:
    done = ran(sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", ATTACKS)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    print(f"attacks: {counts.get('passed', 0)} of {sum(counts.values())} refused, the old release serving on")
    return done.returncode == 0


def suite(*command: str) -> bool:
    """Run a public suite and print what it says last. One that cannot be had is told, and is no failure."""
    done = ran(*command)
    said = (done.stderr if done.returncode == CANNOT else done.stdout).strip().splitlines()
    print(said[-1] if said else f"{command[-1]}: said nothing, and ended with status {done.returncode}")
    return done.returncode in (0, CANNOT)


def main() -> int:
    found = [
        attacks(),
        suite(sys.executable, "tests/conformance/vectors.py"),
        suite("tests/conformance/run"),
    ]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
