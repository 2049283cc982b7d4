"""The signing keys: Ed25519, one file per role under HOME/keys, readable by the owner alone."""

import os
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from registry.errors import NotInitialisedError

Role = Literal["image-root", "image-targets", "image-online", "director-root", "director-online"]
ROLES: tuple[Role, ...] = ("image-root", "image-targets", "image-online", "director-root", "director-online")


def create_keys(home: Path) -> None:
    """Make one key pair per role under `home`/keys; keys that are there already stay."""
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for role in ROLES:
        if not _path(home, role).exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            descriptor = os.open(_path(home, role), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())


def load_signer(home: Path, role: Role) -> CryptoSigner:
    """Return the signer of a role.

    Raises:
        NotInitialisedError: the home has no such key.
    """
    try:
        pem = _path(home, role).read_bytes()
    except FileNotFoundError as error:
        raise NotInitialisedError(home) from error
    key = load_pem_private_key(pem, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise NotInitialisedError(home)
    return CryptoSigner(key)


def _path(home: Path, role: Role) -> Path:
    return home / "keys" / f"{role}.pem"
