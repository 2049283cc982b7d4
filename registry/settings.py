"""Settings: HOME/registry.toml, what an operator may change without touching code."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from registry.errors import SettingsError
from registry.signing.metadata import write_atomic

FILE = "registry.toml"

TEMPLATE = """\
# Settings of this Genba registry. What is commented out has the value shown.

# The MQTT broker that registry and devices meet at: mqtts://host:8883. Without one, `genba registry serve` starts
# a broker of its own, which only this machine can reach.
# broker_url = "mqtts://broker.example:8883"

# How long an enrolment token is good for, in seconds.
# enrolment_ttl_s = 3600

# How long a device's certificate is good for, in seconds. The agent renews it by itself at two thirds of that.
# certificate_life_s = 7776000

# How long after its end a certificate can still be renewed, in seconds: for devices that were away so long.
# renewal_grace_s = 15552000

# The largest release or dataset that may be uploaded, in bytes.
# upload_limit_bytes = 1073741824

# The largest graph, with its golden vectors, that devices may be asked to measure, in bytes.
# measure_limit_bytes = 67108864

# How long a login to the pages lasts, in seconds.
# session_s = 43200

# How many days telemetry windows and events are kept; 0 keeps them for ever. Drift reports, releases, jobs and
# labelled rows are never deleted by themselves.
# keep_telemetry_days = 90
# keep_events_days = 365
"""


Days = Annotated[float, msgspec.Meta(ge=0.0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What registry.toml says; units are in the names. `broker_url` None: an embedded broker."""

    broker_url: str | None = None
    enrolment_ttl_s: float = 3600.0
    certificate_life_s: Annotated[float, msgspec.Meta(gt=0)] = 90 * 86_400.0
    renewal_grace_s: Annotated[float, msgspec.Meta(ge=0)] = 180 * 86_400.0
    upload_limit_bytes: int = 1024 * 1024 * 1024
    measure_limit_bytes: int = 64 * 1024 * 1024
    session_s: float = 43_200.0
    keep_telemetry_days: Days = 90.0
    keep_events_days: Days = 365.0


def read_settings(home: Path) -> Settings:
    """Read HOME/registry.toml; defaults where there is none.

    Raises:
        SettingsError: it is not TOML, or a field is unknown or of the wrong kind.
    """
    path = home / FILE
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Settings)
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}; correct it, or delete it to have the defaults") from error


def write_template(home: Path) -> None:
    """Write a registry.toml in which every setting is explained; one that is there stays."""
    if not (home / FILE).exists():
        write_atomic(home / FILE, TEMPLATE.encode())
