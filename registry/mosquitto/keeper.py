"""The keeper: the broker's files are what the catalogue says, and mosquitto reads them again when they change.

Mosquitto reads access list, revocation list and its own certificate again on SIGHUP, and lets connections be that
are open already. So a client that was locked out is muted by the access list at once, and its connection is then
ended by taking its session over, which the authority alone can do.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from filelock import FileLock, Timeout

from protocols.errors import GenbaError
from registry.catalogue import Catalogue
from registry.errors import BrokerFilesError
from registry.identity import SERVICE, Authority
from registry.mosquitto import files
from registry.mosquitto.access import device_access, service_access
from registry.mosquitto.eviction import evict
from registry.mosquitto.place import BrokerPlace, read_place
from registry.signing.metadata import write_atomic

log = logging.getLogger(__name__)

#: How often certificates and lists are looked at though nothing has changed: they get old.
LOOK_S = 3600.0
#: After a fault it is tried again so late: a command that fails is not to be run without end.
RETRY_S = 5.0
#: The revocation list is signed anew once it is so old, though nothing has changed.
_RESIGN = timedelta(days=30)
_RELOAD_WITHIN_S = 20.0
_ANYONE, _OWNER, _GROUP = 0o644, 0o600, 0o640


class BrokerKeeper:
    """Keeps one mosquitto's files. Call `keep` often: where nothing has changed it costs one query.

    For one thread. Several processes may keep the same files: they take turns.
    """

    def __init__(self, home: Path, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self._home, self._catalogue, self._clock = home, catalogue, clock
        self._authority = Authority(home, clock)
        #: There from before the files are written until mosquitto has read them: serial numbers to be evicted.
        self._unread = home / "run" / "broker-unread.json"
        self._seen: tuple[object, ...] | None = None
        self._looked_at = self._failed_at = 0.0
        self._fault = ""

    def keep(self) -> bool:
        """Bring the files up to date, and say so to mosquitto; True where something was written.

        Whatever hinders is logged once, and tried again at a call some seconds later.
        """
        if 0 <= self._clock() - self._failed_at < RETRY_S:
            return False
        try:
            return self._keep()
        except (GenbaError, OSError, Timeout, UnicodeDecodeError) as error:
            self._failed_at = self._clock()
            if str(error) != self._fault:
                self._fault = str(error)
                log.error("the broker's files cannot be kept, trying again: %s", error)
            return False

    def write(self, place: BrokerPlace) -> bool:
        """Write every file that is not as it should be; True where one was.

        Raises:
            BrokerFilesError: mosquitto cannot be made to read them again.
            OSError: they cannot be written.
        """
        folder = Path(place.folder)
        with FileLock(self._home / "run" / "broker.lock", timeout=30):
            plant = folder / files.PLANT_ACCESS
            if not plant.exists():
                _put(plant, files.PLANT_TEMPLATE.encode())
            unread = self._unread.exists()
            gone = self._newly_revoked(folder) | self._to_evict()
            # Written first and deleted last: whatever ends this in between, mosquitto is told at a later call.
            _put(self._unread, msgspec.json.encode(sorted(gone)))
            changed = [
                _put(folder / files.AUTHORITY, self._authority.pem.encode()),
                self._renew_certificate(place),
                self._write_revocations(folder),
                _put(folder / files.ACCESS, self._access(plant).encode()),
                _put(folder / files.CONFIG, files.config_text(place).encode()),
            ]
            if unread or any(changed):
                reload(place)
                self._evict(place, gone)
            self._unread.unlink()
        return any(changed)

    def _keep(self) -> bool:
        place = read_place(self._home)
        if place is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            plant = (Path(place.folder) / files.PLANT_ACCESS).stat().st_mtime_ns
            seen = (place, plant, *self._catalogue.certificates.generation())
            if seen == self._seen and self._clock() - self._looked_at < LOOK_S:
                return False
            changed = self.write(place)
            self._seen, self._looked_at, self._fault = seen, self._clock(), ""
            if changed:
                log.info("the broker's lists were written anew", extra={"folder": place.folder})
            return changed
        raise BrokerFilesError(f"{place.folder} is gone; run `genba registry broker-config mosquitto` again")

    def _access(self, plant: Path) -> str:
        assigned = {assignment.device: assignment for assignment in self._catalogue.assignments.list()}
        devices = [device_access(device, assigned.get(device.name)) for device in self._catalogue.devices.list()]
        return files.access_text([service_access(), *filter(None, devices)], plant.read_text("utf-8"))

    def _renew_certificate(self, place: BrokerPlace) -> bool:
        folder = Path(place.folder)
        certificate, key = folder / files.CERTIFICATE, folder / files.KEY
        made = self._authority.renew_server(certificate, key, place.hosts)
        # Each time, because a death after the files were written would leave a key that mosquitto cannot read.
        certificate.chmod(_ANYONE)
        # A folder that gives its group on (setgid) is shared with the broker's user.
        key.chmod(_GROUP if folder.stat().st_mode & 0o2000 else _OWNER)
        if os.geteuid() == 0:
            shutil.chown(key, place.user)
        return made

    def _newly_revoked(self, folder: Path) -> set[str]:
        listed = {f"{entry.serial_number:x}" for entry in _read_revocations(folder / files.REVOCATIONS) or ()}
        return {serial for serial, _ in self._catalogue.certificates.revoked()} - listed

    def _to_evict(self) -> set[str]:
        """What an earlier call had to evict and did not come to."""
        try:
            return set(msgspec.json.decode(self._unread.read_bytes(), type=list[str]))
        except (FileNotFoundError, msgspec.DecodeError):
            return set()

    def _write_revocations(self, folder: Path) -> bool:
        """Sign the list where its content is another, or it gets old."""
        path, revoked = folder / files.REVOCATIONS, self._catalogue.certificates.revoked()
        held = _read_revocations(path)
        if held is not None and self._authority.signed(held):
            same = {f"{entry.serial_number:x}" for entry in held} == {serial for serial, _ in revoked}
            if same and held.last_update_utc.timestamp() > self._clock() - _RESIGN.total_seconds():
                return False
        return _put(path, self._authority.revocations(revoked))

    def _evict(self, place: BrokerPlace, serials: set[str]) -> None:
        """End the connections of those who have lost their last certificate."""
        valid = set(self._catalogue.certificates.holders())
        for holder in self._catalogue.certificates.holders_of(serials) - valid - {SERVICE}:
            if evict(self._home, place, self._authority, holder):
                log.info("the connection of %s was ended", holder)


def reload(place: BrokerPlace) -> None:
    """Make mosquitto read its files again; one that does not run reads them when it starts.

    Raises:
        BrokerFilesError: the command that should do it fails.
    """
    if place.reload:
        _run(place.reload)
        return
    try:
        process = int((Path(place.folder) / files.PROCESS).read_text())
        if Path(f"/proc/{process}/comm").read_text().strip() == "mosquitto":
            os.kill(process, signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        log.debug("no mosquitto runs from %s", place.folder)
    except PermissionError as error:
        raise BrokerFilesError(
            f"mosquitto (process {process}) belongs to another user and cannot be told to read its files again; "
            "give the command that does it: `genba registry broker-config mosquitto ... --reload 'systemctl reload "
            "mosquitto'`"
        ) from error


def _run(command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_RELOAD_WITHIN_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerFilesError(f"--reload {' '.join(command)!r}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BrokerFilesError(
            f"--reload {' '.join(command)!r} ended with status {done.returncode}: {said[-1] if said else 'no word'}"
        )


def _read_revocations(path: Path) -> x509.CertificateRevocationList | None:
    try:
        return x509.load_pem_x509_crl(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _put(path: Path, data: bytes) -> bool:
    """Replace a file that everybody may read, where its content is another."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return False
    write_atomic(path, data, _ANYONE)
    return True
