"""`python -m registry.broker --port N`: the embedded broker, in a process of its own."""

import argparse
import sys

from registry.broker.process import serve_broker
from registry.errors import RegistryError
from registry.logs import start_logs
from registry.processes import die_with_parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    arguments = parser.parse_args()
    die_with_parent()
    start_logs("broker")
    try:
        serve_broker(arguments.port)
    except RegistryError as error:
        print(f"genba: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
