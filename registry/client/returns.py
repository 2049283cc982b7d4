"""Handing in what a stick carries home; the receipts stay on the stick for its next visit."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from protocols.bundles import RETURNS_FOLDER
from protocols.returns import RETURN_LIMIT_BYTES
from registry.client.rest import RegistryClient
from registry.errors import BundleNotWrittenError


def hand_in(client: RegistryClient, folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (device, messages) for each part; it is deleted when its receipt lies on the stick.

    Raises:
        BundleNotWrittenError: there is nothing, or the stick cannot be read or written.
        RegistryRefusedError, RegistryUnreachableError: as RegistryClient says.
    """
    parts = sorted((folder / RETURNS_FOLDER).glob("*/[0-9]*.json"))
    if not parts:
        raise BundleNotWrittenError(
            f"{folder} carries nothing home: either all of it was handed in, or no device had anything to say; "
            "`genba bundle collect` on a device writes what is new"
        )
    try:
        for path in parts:
            if path.is_symlink() or path.parent.is_symlink() or path.stat().st_size > RETURN_LIMIT_BYTES:
                raise BundleNotWrittenError(f"{path}: it is not what `genba bundle collect` writes")
            reply = client.call("POST", "/returns", path.read_bytes(), content_type="application/vnd.dsse+json")
            _keep(path.with_name(f"receipt-{path.name}"), msgspec.json.encode(reply["receipt"]))
            path.unlink()
            yield reply["device"], reply["messages"]
    except OSError as error:
        raise BundleNotWrittenError(f"{error.filename or folder}: {error.strerror}") from error


def _keep(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
