"""What a device may fetch: resource name -> bytes, read in spans so that memory does not grow with size."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from protocols.resources import parse_resource
from registry.blobs import Blobs
from registry.errors import ResourceMissingError
from registry.patches import Patches
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock

_MEASURED = re.compile(r"measuring-(?P<number>[0-9]{1,16})\.(?P<file>release\.json|golden\.npz|model\.onnx)")


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can travel in blocks: bytes in memory (metadata) or a file (a release's blob)."""

    size: int
    _bytes: bytes | None = None
    _path: Path | None = None

    @property
    def key(self) -> str | None:
        """The name of bytes that never change: a file's path, which holds its digest. None for what is in memory."""
        return None if self._path is None else str(self._path)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer at the end."""
        if self._bytes is not None:
            return self._bytes[offset : offset + length]
        assert self._path is not None  # noqa: S101 - one of the two is always given
        file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, length, offset)
        finally:
            os.close(file)


class Source:
    """Resolves the resource names of `protocols.resources` for one asking device."""

    def __init__(self, home: Path, clock: Clock = time.time) -> None:
        self._image = ImageRepository(home, clock)
        self._director = DirectorRepository(home, clock)
        self._blobs = Blobs(home)
        self._patches = Patches(home)
        self._home = home

    def open(self, device: str, resource: str) -> Resource:
        """Return the resource as this device may see it.

        Raises:
            ResourceMissingError: there is nothing of that name for this device.
            ResourceNotReadyError: not yet.
        """
        parsed = parse_resource(resource)
        if parsed is None:
            raise ResourceMissingError(resource)
        repository, kind, name = parsed
        if repository == "image" and kind == "targets":
            return self._release_file(device, resource, name)
        if kind == "patches":
            return self._patch(device, resource, name)
        if repository == "image":
            data = self._image.metadata(name)
        elif kind == "metadata":
            data = self._director.metadata(device, name)
        else:
            return self._director_target(device, resource, name)
        if data is None:
            raise ResourceMissingError(resource)
        return Resource(len(data), _bytes=data)

    def _director_target(self, device: str, resource: str, name: str) -> Resource:
        """Open what the director alone has: a document of its own, or a file that the device is to measure."""
        data = self._director.document(device, name)
        if data is not None:
            return Resource(len(data), _bytes=data)
        digest, _, target = name.partition(".")
        found = _MEASURED.fullmatch(target)
        if found is None or not self._director.directs(device, target, digest):
            raise ResourceMissingError(resource)
        path = self._home / "measurements" / found["number"] / found["file"]
        if not path.is_file():
            raise ResourceMissingError(resource)
        return Resource(path.stat().st_size, _path=path)

    def _release_file(self, device: str, resource: str, name: str) -> Resource:
        folder, _, prefixed = name.rpartition("/")
        digest, _, file = prefixed.partition(".")
        if not self._director.directs(device, f"{folder}/{file}", digest):
            raise ResourceMissingError(resource)
        path = self._blobs.path(digest)
        return Resource(path.stat().st_size, _path=path)

    def _patch(self, device: str, resource: str, name: str) -> Resource:
        folder, _, named = name.rpartition("/")
        base, _, prefixed = named.partition(".")
        digest, _, file = prefixed.partition(".")
        if not self._director.directs(device, f"{folder}/{file}", digest):
            raise ResourceMissingError(resource)
        # The device names the base: only a release that it may have had, or its size would tell of another's file.
        if not self._image.holds(folder.partition("/")[0], file, base):
            raise ResourceMissingError(resource)
        path = self._patches.open(resource, base, digest)
        return Resource(path.stat().st_size, _path=path)
