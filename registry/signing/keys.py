"""The signing keys: one PEM file per role under HOME/keys to begin with, readable by the owner alone.

Whatever lies in HOME/keys in the clear, or is reached from there by the address of a key service, the registry can
sign with by itself: it is *online*. Keys that lie elsewhere, in a file with a passphrase or in a PKCS#11 token, are
*offline*: a person signs with them (see `registry.signing.ceremony`).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError, UnverifiedSignatureError, VerificationError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, HSMSigner, Key, Signer, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from registry.errors import KeyRefusedError, NotInitialisedError
from registry.signing.metadata import sync_folder, write_atomic
from registry.signing.tokens import Secret, TokenSigner

Role = Literal["image-root", "image-targets", "image-online", "director-root", "director-online"]
ROLES: tuple[Role, ...] = get_args(Role)
#: What follows the name of a key whose private half lies in a key service: its address and public half.
REMOTE = ".remote.json"
#: Signed once to see which key an address leads to; it is no metadata.
_PROBE = b"genba: whose key is this?"


class RemoteKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that this registry reaches by address, such as `awskms:...`; `public` as securesystemslib writes it."""

    uri: str
    keyid: str
    public: dict[str, Any]


def create_keys(home: Path) -> None:
    """Make one key pair per role under `home`/keys; keys that are there already stay."""
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for role in ROLES:
        if not _path(home, role).exists():
            write_key(_path(home, role))


def write_key(path: Path, passphrase: str | None = None) -> Key:
    """Make an Ed25519 key pair, write the private half to a new file (0600), and return the public half.

    Args:
        passphrase: encrypts the file; None leaves it in the clear.

    Raises:
        KeyRefusedError: there is a file already, or it cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    hidden = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    try:
        whole = path.with_name(f".{path.name}-{os.getpid()}")
        write_atomic(whole, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        try:
            _move_to_new(whole, path)
        finally:
            whole.unlink(missing_ok=True)
        sync_folder(path.parent)  # before a root names a key that a power cut would take
    except OSError as error:
        raise KeyRefusedError(str(path), f"{error.strerror}; a key is only ever written to a new file") from error
    return CryptoSigner(private).public_key


def _move_to_new(whole: Path, path: Path) -> None:
    """Unlike a rename, a link never replaces a key; a stick's file system may know no links."""
    try:
        os.link(whole, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise
        whole.rename(path)


def load_signer(home: Path, role: Role) -> Signer:
    """Return the signer that `create_keys` made for a role.

    Raises:
        NotInitialisedError: the home has no such key.
    """
    if not _path(home, role).exists():
        raise NotInitialisedError(home)
    return read_key(_path(home, role))


def read_key(path: Path, secret: Secret | None = None) -> CryptoSigner:
    """Open a PEM file with an Ed25519 or ECDSA private key.

    Args:
        secret: asked for the passphrase where there is one.

    Raises:
        KeyRefusedError: not a key, or the passphrase is wrong or missing.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise KeyRefusedError(str(path), f"cannot be read: {error.strerror}") from error
    encrypted = b"ENCRYPTED" in pem
    if encrypted and secret is None:
        raise KeyRefusedError(str(path), "has a passphrase; sign with `genba registry keys sign --key`")
    passphrase = secret(f"Passphrase of {path.name}").encode() if encrypted and secret is not None else None
    try:
        private = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "the passphrase is wrong, or the file is damaged" if encrypted else "is not a PEM private key"
        raise KeyRefusedError(str(path), reason) from error
    if not isinstance(private, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise KeyRefusedError(str(path), f"is a {type(private).__name__}; Ed25519 and ECDSA keys sign here")
    return CryptoSigner(private)


def open_signer(where: str, public: Iterable[Key], secret: Secret) -> Signer:
    """Open a private key by file name or by address (`hsm:2?label=TOKEN`, `awskms:...`).

    Args:
        public: the keys that may sign; an address alone does not tell which one it leads to.

    Raises:
        KeyRefusedError: it cannot be reached, or is none of these keys.
    """
    scheme, colon, _ = where.partition(":")
    if not colon or scheme not in SIGNER_FOR_URI_SCHEME or Path(where).exists():
        signer: Signer = read_key(Path(where), secret)
        if signer.public_key.keyid not in {key.keyid for key in public}:
            raise KeyRefusedError(where, f"is the key {signer.public_key.keyid[:12]}, which signs nothing here")
        return signer
    if scheme == HSMSigner.SCHEME:
        return TokenSigner(where, public, secret)
    for key in public:
        try:
            signer = Signer.from_priv_key_uri(where, key, secret)
            key.verify_signature(signer.sign(_PROBE), _PROBE)
        except (ValueError, KeyError, OSError, UnsupportedLibraryError, UnverifiedSignatureError, VerificationError):
            continue
        return signer
    raise KeyRefusedError(where, "leads to no key that signs here, or its service cannot be reached")


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Sign metadata, beside the signatures that are there.

    Raises:
        KeyRefusedError: the key cannot be used: a wrong PIN, a token that was pulled out, a service that is away.
    """
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        cause = error.__cause__
        if isinstance(cause, KeyRefusedError):
            raise cause from error
        raise KeyRefusedError(signer.public_key.keyid[:12], f"cannot sign: {cause}") from error


def online_signers(home: Path) -> dict[str, Signer]:
    """Return every key that the registry can use by itself, by key id.

    Raises:
        NotInitialisedError: the home has no keys.
    """
    folder = home / "keys"
    found: dict[str, Signer] = {}
    for path in sorted(folder.glob("*.pem")):
        if b"ENCRYPTED" not in path.read_bytes():
            signer = read_key(path)
            found[signer.public_key.keyid] = signer
    for path in sorted(folder.glob(f"*{REMOTE}")):
        remote = read_remote(path)
        key = Key.from_dict(remote.keyid, dict(remote.public))
        found[key.keyid] = Signer.from_priv_key_uri(remote.uri, key)
    if not found:
        raise NotInitialisedError(home)
    return found


def read_remote(path: Path) -> RemoteKey:
    """Read where a remote key is. Raises KeyRefusedError where the file does not say it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RemoteKey)
    except (OSError, msgspec.DecodeError) as error:
        raise KeyRefusedError(str(path), f"does not say where the key is: {error}") from error


def write_public(path: Path, key: Key) -> None:
    """Write a public key as JSON, to be carried to the registry. Raises KeyRefusedError where it cannot be."""
    data = msgspec.json.format(msgspec.json.encode({"keyid": key.keyid, **key.to_dict()}), indent=2)
    try:
        path.write_bytes(data + b"\n")
    except OSError as error:
        raise KeyRefusedError(str(path), f"cannot be written: {error.strerror}") from error


def read_public(path: Path) -> Key:
    """Read what `write_public` wrote. Raises KeyRefusedError where it is no public key."""
    try:
        fields = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        key = Key.from_dict(str(fields.pop("keyid")), fields)
        public = key.keyval["public"]
        raw = key.keytype == "ed25519"
        loaded = (
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)) if raw else load_pem_public_key(public.encode())
        )
        made = SSlibKey.from_crypto(loaded, scheme=key.scheme)
    except OSError as error:
        raise KeyRefusedError(str(path), f"cannot be read: {error.strerror}") from error
    except (
        msgspec.DecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        UnsupportedAlgorithm,
    ) as error:
        raise KeyRefusedError(str(path), "is not a public key that `genba registry keys create` wrote") from error
    # Another id would let one key count as two, or stand in for the key that has that id.
    if (made.keyid, made.keyval) != (key.keyid, key.keyval):
        raise KeyRefusedError(str(path), f"its key id is not that of its key, {made.keyid[:12]}: whose file is it?")
    return key


def _path(home: Path, role: Role) -> Path:
    return home / "keys" / f"{role}.pem"
