"""`python -m registry.mqtt --home DIR --broker URL`: the MQTT service, in a process of its own."""

import argparse
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from protocols.broker import BrokerAddress
from protocols.errors import GenbaError
from registry.logs import start_logs
from registry.mqtt.service import Service
from registry.processes import die_with_parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.mqtt", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the registry's home")
    parser.add_argument("--broker", required=True, help="mqtt://127.0.0.1:1883 or mqtts://host:8883")
    arguments = parser.parse_args()
    die_with_parent()
    start_logs("mqtt")
    try:
        return serve(arguments.home, arguments.broker)
    except GenbaError as error:
        print(f"genba: {error}", file=sys.stderr)
        return 1


def serve(home: Path, broker: str) -> int:
    address = BrokerAddress.parse(broker)
    service = Service(home, address)
    (home / "run").mkdir(exist_ok=True)
    try:
        with FileLock(home / "run" / "mqtt.lock", timeout=5):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: service.stop())
            service.run()
    except Timeout:
        print(f"genba: {home} is served by another MQTT service already; stop that one first", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
