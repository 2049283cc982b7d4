"""The agent's folder: who this device is, what it trusts, and where its parts keep their files."""

import contextlib
import errno
import fcntl
import json
import os
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import msgspec

from devices.providers import KNOWN
from edge_agent.disk import write_atomic
from edge_agent.errors import HomeError
from protocols.blocks import MAX_BLOCK, UNIT_BYTES
from protocols.names import check_name


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`agent.toml`. The first four are written by enrolment; the rest may be added by hand.

    Attributes:
        device, site, profile: as enrolled.
        broker_url: mqtt://host:port (loopback alone) or mqtts://host:port.
        registry_url: the registry's web address; needed where `transport` is http, and for a new certificate when
            the broker takes the device no more.
        transport: what releases and metadata come by: mqtt, or http with ranges.
        outbox_bytes: most that telemetry and events may take on disk while the registry is away.
        preflight_s: longest that a release's proof may take here.
        build_s: longest that the engine of a release may take to compile, where its provider makes one.
        providers: execution providers that are wanted here, instead of the profile's; the most wanted first.
        provider_options: provider -> options that it is given above those that it gets by itself.
        preflight_bytes: most memory that it may take; 0: half of what is free.
        tune_s: longest that a release is tuned to this device before its proof, if it was not yet; 0: it is not.
        measure: whether this device times graphs that are not released, if the director has signed that; none serves.
        measure_s: longest that timing one may take.
        poll_s: how often the registry is asked without a nudge.
        block_bytes: the largest block that releases travel in, in bytes; a broker's limit on messages bounds it.
        patch_bytes: most memory that making a file from the release before it may take; 0: files always come whole.
        http_port: where predictions and metrics are served over HTTP, on 127.0.0.1 alone; 0: nowhere.
        window_bytes: most of a download that may be on its way at once; within both, a download fits the link.
    """

    device: str
    site: str
    profile: str
    broker_url: str
    registry_url: str = ""
    transport: Literal["mqtt", "http"] = "mqtt"
    outbox_bytes: int = 32 * 1024 * 1024
    preflight_s: float = 120.0
    preflight_bytes: int = 0
    build_s: Annotated[float, msgspec.Meta(gt=0)] = 1800.0
    providers: tuple[str, ...] = ()
    provider_options: dict[str, dict[str, str]] = {}
    tune_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    measure: bool = False
    measure_s: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    poll_s: float = 600.0
    block_bytes: Annotated[int, msgspec.Meta(ge=UNIT_BYTES, le=MAX_BLOCK)] = 64 * 1024
    patch_bytes: int = 256 * 1024 * 1024
    http_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    window_bytes: Annotated[int, msgspec.Meta(ge=MAX_BLOCK, le=64 * MAX_BLOCK)] = 4 * 1024 * 1024


class AgentHome:
    """Names of everything under the agent's folder; reads what enrolment has written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings_path = folder / "agent.toml"
        self.identity = folder / "identity.pem"
        self.next_key = folder / "identity.next.key"
        self.ca = folder / "ca.crt"
        self.image_root = folder / "trust" / "image.root.json"
        self.director_root = folder / "trust" / "director.root.json"
        self.metadata = folder / "metadata"
        self.releases = folder / "releases"
        self.partial = folder / "partial"
        self.engines = folder / "engines"
        self.tuned = folder / "tuned"
        self.measuring = folder / "measuring"
        self.measured = folder / "measured.json"
        self.state = folder / "state.json"
        self.stick = folder / "stick"
        self.receipts = folder / "receipts"
        self.outbox = folder / "outbox.db"
        self.status = folder / "status.json"
        self.lock = folder / "agent.lock"

    @property
    def enrolled(self) -> bool:
        return self.settings_path.exists()

    def settings(self) -> Settings:
        """Read agent.toml.

        Raises:
            HomeError: not enrolled, or the file cannot be read; the text names the field.
        """
        try:
            settings = msgspec.convert(tomllib.loads(self.settings_path.read_text()), Settings)
        except FileNotFoundError:
            raise HomeError(
                f"{self.folder} is not an enrolled agent's home; run `genba agent enrol --home {self.folder}` first"
            ) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise HomeError(f"{self.settings_path}: {error}; mend the file or enrol again") from error
        check_name("device", settings.device)
        check_name("site", settings.site)
        self._check_providers(settings)
        return settings

    def _check_providers(self, settings: Settings) -> None:
        for field, names in (("providers", settings.providers), ("provider_options", settings.provider_options)):
            unknown = [name for name in names if name not in KNOWN]
            if unknown:
                known = ", ".join(KNOWN)
                raise HomeError(
                    f"{self.settings_path}: {field} has {unknown[0]!r}, and there are {known}; mend the file"
                )

    def read_trust(self, path: Path) -> bytes:
        """Return one pinned root.

        Raises:
            HomeError: it is missing.
        """
        try:
            return path.read_bytes()
        except OSError as error:
            raise HomeError(f"{path}: {error.strerror}; the device must be enrolled again") from error

    def write_settings(self, values: dict[str, Any]) -> None:
        """Write agent.toml, the file whose presence makes this an enrolled home."""
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
        write_atomic(self.settings_path, "".join(lines).encode())


class HomeLock:
    """Holds an agent's folder for one process: the kernel lets go of it when the process dies.

    Raises:
        HomeError: another agent holds it.
    """

    def __init__(self, home: AgentHome) -> None:
        self._file = _open_lock(home.lock)
        if not self._taken():
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise HomeError(
                f"an agent is already running on {home.folder} (process {holder}); stop it, or give another --home"
            )
        with contextlib.suppress(OSError):  # a disk that is full or read-only stops no agent; the lock is the kernel's
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()

    def _taken(self) -> bool:
        """Try for half a second: `genba agent status` holds the lock for an instant to see whether it is free."""
        for _ in range(10):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            else:
                return True
        return False

    def release(self) -> None:
        self._file.close()


def _open_lock(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except OSError as error:
        if error.errno == errno.EROFS and path.exists():
            return path.open()
        raise


def lock_holder(home: AgentHome) -> int | None:
    """Return the process that runs the agent of this home, or None."""
    try:
        with home.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else 0
    except OSError:
        return None
    return None
