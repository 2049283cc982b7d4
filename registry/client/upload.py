"""Publishing a candidate: its files as one streamed multipart body, so that memory does not grow with the model."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from protocols.errors import ManifestError
from protocols.manifest import Manifest, decode_manifest
from protocols.resources import RELEASE_FILES
from registry.client.rest import RegistryClient
from registry.errors import CandidateRefusedError

#: Sent along where the trainer has left it.
REPORT_FILE = "report.json"
_CHUNK = 256 * 1024
UPLOAD_TIMEOUT_S = 600.0
DEFAULT_REGISTRY = "http://127.0.0.1:8080"

Progress = Callable[[int, int], None]


def publish_candidate(folder: Path, registry: str | None, token: str | None) -> str:
    """Upload a candidate and return the release that it has become, `model@version`.

    Args:
        registry: its URL; None: GENBA_REGISTRY, or this machine's.
        token: the API token; None: GENBA_TOKEN.

    Raises:
        CandidateRefusedError, RegistryRefusedError, RegistryUnreachableError: the text says why.
    """
    url = registry or os.environ.get("GENBA_REGISTRY", DEFAULT_REGISTRY)
    upload = Upload(folder)
    client = RegistryClient(url, token or os.environ.get("GENBA_TOKEN"), timeout_s=UPLOAD_TIMEOUT_S)
    release = send(client, upload)
    return f"{release['model']}@{release['version']}"


def send(client: RegistryClient, upload: "Upload") -> Any:
    """Send a candidate to its model's releases, and return what the registry says of the new one."""
    return client.call(
        "POST",
        f"/models/{upload.manifest.model}/releases",
        upload,
        content_type=upload.content_type,
        size_bytes=upload.size_bytes,
    )


class Upload:
    """A candidate's folder as a multipart/form-data body.

    Raises:
        CandidateRefusedError: it is not a candidate's folder; the text names the file that lacks.
    """

    def __init__(self, folder: Path, progress: Progress = lambda sent, size: None) -> None:
        self.manifest = _manifest(folder)
        self._progress = progress
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._parts = [(_head(boundary, path.name), path) for path in _files(folder, self.manifest)]
        self._end = f"--{boundary}--\r\n".encode()
        self.size_bytes = len(self._end) + sum(len(head) + path.stat().st_size + 2 for head, path in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self._chunks():
            yield chunk
            sent += len(chunk)
            self._progress(sent, self.size_bytes)

    def _chunks(self) -> Iterator[bytes]:
        for head, path in self._parts:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            yield b"\r\n"
        yield self._end


def _head(boundary: str, name: str) -> bytes:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def _files(folder: Path, manifest: Manifest) -> list[Path]:
    names = [*RELEASE_FILES, *(variant.file for variant in manifest.variants.values())]
    for name in names:
        if not (folder / name).is_file():
            raise CandidateRefusedError(
                str(folder), f"{name} is missing; name the folder that `genba train --out` made"
            )
    return [folder / name for name in (*names, REPORT_FILE) if (folder / name).is_file()]


def _manifest(folder: Path) -> Manifest:
    try:
        return decode_manifest((folder / "release.json").read_bytes())
    except OSError as error:
        reason = f"release.json: {error.strerror}; name the folder that `genba train --out` made"
        raise CandidateRefusedError(str(folder), reason) from error
    except ManifestError as error:
        raise CandidateRefusedError(str(folder), f"{error}; make it again with `genba train`") from error
