"""A signing request over REST: the files that are otherwise carried in a folder, and the signatures that come back."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from registry.errors import CeremonyRefusedError
from registry.signing.ceremony import repository
from registry.signing.metadata import Clock, write_atomic
from registry.signing.request import KINDS, NAMES, import_request

#: What was signed, and what is needed beside it to see what it changes. Nothing else is ever written.
STAGED = tuple(f"{name}/staged.{kind}.json" for name in NAMES for kind in KINDS)
IN_FORCE = tuple(f"{name}/{file}" for name in NAMES for file in ("root.json", "targets.json"))


class RequestFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of a signing request by name (`image/staged.targets.json`), base64."""

    files: dict[str, bytes]


class Taken(msgspec.Struct, frozen=True):
    """How many signatures were new, and what still waits, in words."""

    new: int
    waiting: tuple[str, ...]


def request_files(home: Path, clock: Clock) -> RequestFiles:
    """Return the request for all that waits; no files where nothing does."""
    found: dict[str, bytes] = {}
    for name in NAMES:
        opened = repository(home, name, clock)
        if opened.waiting():
            found.update({f"{name}/{file}": data for file, data in opened.request_files().items()})
    return RequestFiles(found)


def take_signatures(home: Path, sent: RequestFiles, clock: Clock) -> Taken:
    """Take the signatures of a request that was signed.

    Raises:
        CeremonyRefusedError: it is no request, or what it signed is not what waits here now.
    """
    with unpacked(sent) as folder:
        new, waiting = import_request(home, folder, clock)
    return Taken(new, tuple(waiting))


@contextmanager
def unpacked(sent: RequestFiles) -> Iterator[Path]:
    """Lay the files out as the folder of a request, for as long as the context lasts.

    Raises:
        CeremonyRefusedError: there is a file that no request has.
    """
    strange = sorted(sent.files.keys() - {*STAGED, *IN_FORCE})
    if strange:
        raise CeremonyRefusedError(f"a signing request holds no file {strange[0]!r}")
    with tempfile.TemporaryDirectory(prefix="genba-signing-") as folder:
        for name, data in sent.files.items():
            write_atomic(Path(folder) / name, data)
        yield Path(folder)
