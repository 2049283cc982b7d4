"""Power cuts tried and survived in one update of a device: with `--all` at every point (minutes), else at a sample.

The limit is the number of points itself. What is done and checked at each: tests/edge_agent/test_power.py.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    chosen = "every" if parser.parse_args().all else "sample"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-s",
            "-p",
            "no:randomly",
            "tests/edge_agent/test_power.py",
            "-k",
            chosen,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.lstrip(".") for line in done.stdout.splitlines() if "power cuts:" in line]
    print("\n".join(found) or done.stdout[-2000:])
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
