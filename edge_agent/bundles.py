"""A bundle on a stick, taken into the home: looked at for its form, copied once, and rehearsed before it counts.

The stick is read once. What is checked and installed afterwards is the copy, so that no trick of the stick comes
between the two. Whoever runs `genba bundle install` writes only HOME/stick; the daemon, now or at its next start,
installs from there by the very path that MQTT takes.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_agent.disk import sync_folder
from edge_agent.errors import BundleNotInstalledError, TransferError, TrustError
from edge_agent.fetchers import DirectoryFetcher
from edge_agent.settings import AgentHome
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.stick import ARRIVING, clear_bundles, replace_stick
from edge_agent.trusted_time import TrustedTime, issued_at
from edge_agent.verification import Verifier
from protocols.assignment import Assignment
from protocols.bundles import BUNDLE_FILE, BUNDLE_LIMIT_BYTES, Bundle, decode_bundle
from protocols.errors import BundleRefusedError

_SPARE_BYTES = 16 * 1024 * 1024


def read_bundle(folder: Path) -> Bundle:
    """Return what a bundle lists, after a look at the place of each file.

    Raises:
        BundleRefusedError: no bundle, or not a whole one; a link; a size that lies. The text names the file.
    """
    if not folder.is_dir():
        wrong = "it is a file; give" if folder.exists() else "there is no such folder; give"
        raise BundleRefusedError(str(folder), f"{wrong} the folder that `genba bundle export` wrote")
    size = _size(folder, BUNDLE_FILE, "is not a bundle: it has no bundle.json")
    if size > BUNDLE_LIMIT_BYTES:
        raise BundleRefusedError(str(folder / BUNDLE_FILE), f"it is larger than {BUNDLE_LIMIT_BYTES} bytes")
    try:
        bundle = decode_bundle((folder / BUNDLE_FILE).read_bytes())
    except OSError as error:
        raise BundleRefusedError(str(folder / BUNDLE_FILE), str(error.strerror)) from error
    for name, listed in bundle.files.items():
        size = _size(folder, name, "is missing")
        if size != listed:
            raise BundleRefusedError(str(folder / name), f"it is {size} bytes, and bundle.json says {listed}")
    return bundle


def _size(folder: Path, name: str, missing: str) -> int:
    """Return a file's size if it and the folders on the way to it are what they seem."""
    path = folder
    found = None
    for part in name.split("/"):
        path = path / part
        try:
            found = path.lstat()
        except OSError as error:
            place = folder if name == BUNDLE_FILE else path
            raise BundleRefusedError(str(place), missing) from error
        if stat.S_ISLNK(found.st_mode):
            raise BundleRefusedError(str(path), "it is a symbolic link, and a bundle has none")
    if found is None or not stat.S_ISREG(found.st_mode):
        raise BundleRefusedError(str(path), "it is not a plain file")
    if found.st_nlink > 1:
        raise BundleRefusedError(str(path), "it is a hard link to another file, and a bundle has none")
    return found.st_size


def install(folder: Path, home: AgentHome) -> Assignment:
    """Take a bundle into an agent's home, after every check that the agent makes; it installs from there.

    Returns:
        What the bundle assigns to this device.

    Raises:
        BundleRefusedError: its form is wrong.
        BundleNotInstalledError: it is for another device, or the disk is full.
        TrustError, ReleaseRefusedError, TransferError: as over MQTT; nothing was changed.
    """
    device = home.settings().device
    bundle = read_bundle(folder)
    if bundle.device != device:
        meant = f"for device {bundle.device!r}" if bundle.device else "to score with, for no device"
        raise BundleNotInstalledError(f"{folder} is {meant}; this is {device!r}: export one with --device {device}")
    _check_room(folder, home, bundle)
    with _staging(home) as staged:
        try:
            _copy(folder, bundle, staged)
        except OSError as error:
            raise BundleNotInstalledError(
                f"{error.filename or folder}: {error.strerror}; nothing was changed"
            ) from error
        assignment = rehearse(staged, home)
        replace_stick(home, staged)
    return assignment


def _check_room(folder: Path, home: AgentHome, bundle: Bundle) -> None:
    # Twice: the copy, and the release store's own.
    needed = 2 * sum(bundle.files.values()) + _SPARE_BYTES
    free = shutil.disk_usage(home.folder).free
    if free < needed:
        raise BundleNotInstalledError(
            f"{folder}: {needed >> 20} MiB are needed in {home.folder}, {free >> 20} are free"
        )


@contextlib.contextmanager
def _staging(home: AgentHome) -> Iterator[Path]:
    """Yield a folder aside; whatever a killed installation left there goes first."""
    clear_bundles(home, ARRIVING)
    staged = Path(tempfile.mkdtemp(dir=home.folder, prefix=ARRIVING))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _copy(folder: Path, bundle: Bundle, staged: Path) -> None:
    for name, size in [*bundle.files.items(), (BUNDLE_FILE, (folder / BUNDLE_FILE).stat().st_size)]:
        target = staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as source, target.open("xb") as file:
            left = size + 1  # one more than it may have: what grows meanwhile is seen, and not followed
            while left and (chunk := source.read(min(left, 1 << 20))):
                left -= file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if left != 1:
            raise BundleRefusedError(str(folder / name), f"it is not the {size} bytes that it was when it was listed")
    for path in [staged, *(path for path in staged.rglob("*") if path.is_dir())]:
        sync_folder(path)


def rehearse(folder: Path, home: AgentHome) -> Assignment:
    """Check a copied bundle as the agent will, on a copy of what it trusts; return what it assigns.

    Raises:
        TrustError, ReleaseRefusedError, TransferError: as over MQTT.
    """
    settings = home.settings()
    with tempfile.TemporaryDirectory(dir=home.folder, prefix=ARRIVING) as temporary:
        metadata = Path(temporary) / "metadata"
        if home.metadata.is_dir():
            shutil.copytree(home.metadata, metadata, symlinks=True)
        verifier = Verifier(
            metadata,
            PinnedRoots(home.read_trust(home.image_root), home.read_trust(home.director_root)),
            DirectoryFetcher(folder),
            device=settings.device,
            profile=settings.profile,
            time=TrustedTime(metadata / "time.json", not_before=issued_at(home.identity)),
        )
        try:
            assignment = verifier.assignment()
            if assignment is None:
                raise BundleRefusedError(str(folder), "the director's metadata is missing")
            for release in assignment.releases:
                verifier.check(release.ref)
        except TransferError as error:
            raise TrustError(f"the bundle is not whole: {error}") from error
    return assignment
