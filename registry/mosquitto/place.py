"""Where the broker's files are, in HOME/broker.json: what `genba registry broker-config` was told."""

from pathlib import Path

import msgspec

from registry.errors import SettingsError
from registry.signing.metadata import write_atomic


class BrokerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One mosquitto, and how to reach it.

    Attributes:
        folder: where its files are.
        hosts: the names and addresses that clients know it by; the first is the one in the registry's settings.
        port: of its TLS listener.
        bind: the address it listens on; empty: all.
        user: whom it runs as, and who must be able to read its files.
        reload: the command that makes it read its files again; empty: SIGHUP to the process in mosquitto.pid.
    """

    folder: str
    hosts: tuple[str, ...]
    port: int = 8883
    bind: str = ""
    user: str = "mosquitto"
    reload: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        host = self.hosts[0]
        return f"mqtts://{f'[{host}]' if ':' in host else host}:{self.port}"


def read_place(home: Path) -> BrokerPlace | None:
    """Return the broker that this registry keeps the files of, or None.

    Raises:
        SettingsError: the file cannot be read.
    """
    path = home / "broker.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=BrokerPlace)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f"{path}: {error}; run `genba registry broker-config` again") from error


def write_place(home: Path, place: BrokerPlace) -> None:
    """Remember the broker."""
    write_atomic(home / "broker.json", msgspec.json.format(msgspec.json.encode(place)))
