"""A release's files from a registry, as the folder that was published: whole or not at all."""

import tempfile
from pathlib import Path

from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES
from registry.client.rest import RegistryClient
from registry.errors import ModelSignatureError
from registry.signing.metadata import write_atomic


def fetch_release(client: RegistryClient, ref: ReleaseRef, folder: Path) -> None:
    """Write a release's files to a new folder.

    Raises:
        ModelSignatureError: there is something of that name, or it cannot be written.
        RegistryRefusedError, RegistryUnreachableError: as RegistryClient says.
    """
    if folder.exists():
        raise ModelSignatureError(f"{folder} exists already; name a new folder with --folder, or sign that one")
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staged:
            whole = Path(staged) / "release"
            for name in RELEASE_FILES:
                data = b"".join(client.download(f"/models/{ref.model}/releases/{ref.version}/files/{name}"))
                write_atomic(whole / name, data, 0o644)
            whole.rename(folder)
    except OSError as error:
        raise ModelSignatureError(f"{folder}: {error.strerror}; name another with --folder") from error
