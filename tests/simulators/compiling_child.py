"""A preflight's child on a device whose provider compiles: `python tests/simulators/compiling_child.py FOLDER`.

FOLDER/how says what it does: `reuses`, `compiles-again`, `compiles-again-for-long`, `cannot-read`, `crashes`, `hangs`.
FOLDER/log gets a line for each order: `build`, `load` with an engine, `plain` without.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ENGINE = b"compiled for this very device" * 1000


def main(folder: Path) -> None:
    order = json.loads(sys.stdin.buffer.read())
    how = (folder / "how").read_text()
    cache = order["plan"].get("cache")
    kind = "build" if order["build"] else "load" if cache else "plain"
    with (folder / "log").open("a") as log:
        log.write(f"{kind}\n")
    say(check="build" if order["build"] else "load")
    if kind == "build":
        if how == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        while how == "hangs":
            time.sleep(0.05)
        (Path(cache) / "deep").mkdir()
        (Path(cache) / "deep" / "graph.engine").write_bytes(ENGINE)
        say(passed=True, provider="TensorrtExecutionProvider", build_s=12.5)
    elif kind == "load" and how == "cannot-read":
        say(passed=False, reason="it cannot be read", check="load")
    else:
        if kind == "load" and how.startswith("compiles-again"):
            (Path(cache) / "deep" / "graph.engine").write_bytes(ENGINE)
        say(passed=True, provider="TensorrtExecutionProvider", load_s=90.0 if how.endswith("for-long") else 0.1)


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
