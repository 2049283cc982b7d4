"""What the agent wants to know of signed metadata, and from whom: words that need none of python-tuf's machinery.

Whoever reads metadata (`edge_agent.metadata_here`, or in a process of its own `edge_agent.metadata_process`) answers in
these words. Only python-tuf's errors are imported here, which are light.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    RepositoryError,
)

from edge_agent.errors import ResourceFinalError, TransferError, TrustError
from protocols.errors import MetadataFormError
from protocols.resources import Repository


@dataclass(frozen=True, slots=True)
class PinnedRoots:
    """Version 1 of each repository's root, as pinned at enrolment: all trust begins here."""

    image: bytes
    director: bytes


class Refreshed(msgspec.Struct, frozen=True):
    """What the director's metadata says of itself once it is new and valid.

    Attributes:
        signed_at: when its timestamp was signed, in seconds since 1970, if it says so.
        delegates: whether it lets others sign targets in its name.
    """

    signed_at: float | None
    delegates: bool


class SignedTarget(msgspec.Struct, frozen=True):
    """What one repository has signed of a file. `url` is what a fetcher is asked for."""

    path: str
    url: str
    length: int
    hashes: dict[str, str]
    custom: Any = None

    def verify_length_and_hashes(self, file: IO[bytes]) -> None:
        """Return if a file is what was signed, by the rules of python-tuf's TargetFile.

        Raises:
            LengthOrHashMismatchError: it is not, or a hash is of a kind that is not known here.
        """
        length = file.seek(0, os.SEEK_END)
        if length != self.length:
            raise LengthOrHashMismatchError(f"{self.path}: its length is {length}, and {self.length} is signed")
        for algorithm, expected in self.hashes.items():
            file.seek(0)
            try:
                found = hashlib.file_digest(file, lambda kind=algorithm: _digest(kind)).hexdigest()  # type: ignore[arg-type,misc]
            except (ValueError, TypeError) as error:
                raise LengthOrHashMismatchError(f"{self.path}: unsupported algorithm {algorithm!r}") from error
            if found != expected:
                raise LengthOrHashMismatchError(f"{self.path}: its {algorithm} is {found}, and {expected} is signed")


class Fetcher(Protocol):
    """What brings a resource; python-tuf's `FetcherInterface` is one.

    Its `download_file` raises python-tuf's DownloadError, DownloadHTTPError or DownloadLengthMismatchError.
    """

    def download_file(self, url: str, max_length: int) -> AbstractContextManager[IO[bytes]]:
        """Yield the resource as a file of at most `max_length` bytes."""


class MetadataReader(Protocol):
    """One look at both repositories' metadata. All raise TrustError, TransferError or OSError.

    For one thread.
    """

    def refresh(self, repository: Repository) -> Refreshed:
        """Bring a repository's metadata up to date; what is trusted is safe on disk when this returns."""

    def target(self, repository: Repository, path: str) -> SignedTarget | None:
        """Return what a repository that was refreshed has signed of a target; None where it has not."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a reader works with.

    Attributes:
        folder: where both repositories' trusted metadata lies.
        now: takes a repository and the version of the root that is trusted, returns the time by which expiry is judged.
    """

    folder: Path
    roots: PinnedRoots
    fetcher: Fetcher
    now: Callable[[Repository, int], float]


OpenReader = Callable[[Sources], AbstractContextManager[MetadataReader]]


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn python-tuf's errors into ours."""
    try:
        yield
    except DownloadHTTPError as error:
        if error.status_code in (404, 410):
            raise ResourceFinalError(what, error.status_code, str(error)) from error
        raise TransferError(what, str(error)) from error
    except DownloadLengthMismatchError as error:
        raise TrustError(f"{what}: more arrives than may: {error}") from error
    except DownloadError as error:
        raise TransferError(what, str(error)) from error
    except (RepositoryError, MetadataFormError) as error:
        raise TrustError(f"{what}: {error}") from error


def _digest(algorithm: str) -> Any:
    if algorithm == "blake2b-256":  # TUF's name for it, and not hashlib's
        return hashlib.blake2b(digest_size=32)
    return hashlib.new(algorithm)
