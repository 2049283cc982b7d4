"""What the service says of itself in HOME/run/mqtt.json, for the supervisor, the web pages and a person."""

import os
from pathlib import Path

import msgspec

from registry.signing.metadata import write_atomic


class ServiceState(msgspec.Struct, frozen=True):
    """`refused` counts messages that were not taken, by reason, since the service started."""

    connected: bool
    broker: str
    refused: dict[str, int] = {}
    pid: int = 0


def write_state(home: Path, state: ServiceState) -> None:
    """Replace the state file."""
    write_atomic(_path(home), msgspec.json.encode(msgspec.structs.replace(state, pid=os.getpid())))


def read_state(home: Path) -> ServiceState | None:
    """Return what the service last said, or None."""
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=ServiceState)
    except (OSError, msgspec.DecodeError):
        return None


def _path(home: Path) -> Path:
    return home / "run" / "mqtt.json"
