"""What this device recorded goes home on a stick, signed with its own key; a receipt in return frees the outbox."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Timestamp

from edge_agent.disk import write_atomic
from edge_agent.errors import BundleNotInstalledError, HomeError
from edge_agent.settings import AgentHome
from protocols.bundles import RETURNS_FOLDER
from protocols.errors import MessageRefusedError
from protocols.returns import (
    RECEIPT_TYPE,
    RETURN_LIMIT_BYTES,
    RETURN_TYPE,
    Receipt,
    Returned,
    ReturnedMessage,
    decode_signed,
    encode_signed,
)

#: An envelope is closed when its messages weigh this much.
_PART_BYTES = 512 * 1024


def collect(folder: Path, home: AgentHome) -> int:
    """Take the registry's receipts from a stick, and write to it what waits in the outbox and has none.

    Nothing is forgotten here: what the stick carries waits on until a receipt, or MQTT, says that it has arrived.

    Returns:
        How many messages the stick carries home.

    Raises:
        HomeError: the device has no key, or the outbox cannot be read.
        BundleNotInstalledError: the stick cannot be written, or a link lies where the messages go.
    """
    settings = home.settings()
    place = folder / RETURNS_FOLDER / f"{settings.site}.{settings.device}"
    if any(path.is_symlink() for path in (folder, place.parent, place)):
        raise BundleNotInstalledError(f"{place}: there is a symbolic link on the way; use another folder")
    if not folder.is_dir():
        raise BundleNotInstalledError(f"{folder}: there is no such folder")
    try:
        take_receipts(place, home)
        count = 0
        for first, part in _parts(home):
            returned = Returned(settings.site, settings.device, tuple(part))
            write_atomic(place / f"{first}.json", _signed(returned, home))
            count += len(part)
    except OSError as error:
        raise BundleNotInstalledError(f"{error.filename or place}: {error.strerror}") from error
    return count


def take_receipts(place: Path, home: AgentHome) -> int:
    """Take the registry's receipts from a stick to HOME/receipts, where the daemon finds them; return how many.

    Raises:
        BundleNotInstalledError: one is not signed by the director, or for another device.
    """
    taken = 0
    for path in sorted(place.glob("receipt-*.json")):
        if path.is_symlink() or path.stat().st_size > RETURN_LIMIT_BYTES:
            raise BundleNotInstalledError(f"{path}: it is no receipt")
        receipt = _read_receipt(path, home)
        write_atomic(home.receipts / path.name, encode_signed(receipt))
        path.unlink()
        taken += 1
    return taken


def _arrived(home: AgentHome) -> set[int]:
    """Return what waits in the outbox only because no agent has run since its receipt came."""
    ids: set[int] = set()
    for path in home.receipts.glob("receipt-*.json"):
        # Gone: a running agent has just read it. Damaged: what it is about goes home once more.
        with contextlib.suppress(FileNotFoundError, MessageRefusedError):
            ids.update(decode_signed(Receipt, path.read_bytes()).ids)
    return ids


def _parts(home: AgentHome) -> Iterator[tuple[int, list[ReturnedMessage]]]:
    """Yield (first id, messages), oldest first, a part of the outbox each."""
    first, part, weight = 0, [], 0
    arrived = _arrived(home)
    for number, channel, payload in _waiting(home):
        if number in arrived:
            continue
        first = first or number
        part.append(ReturnedMessage(channel, payload))
        weight += len(payload)
        if weight >= _PART_BYTES:
            yield first, part
            first, part, weight = 0, [], 0
    if part:
        yield first, part


def _waiting(home: AgentHome) -> Iterator[tuple[int, Any, bytes]]:
    """Read the outbox beside the daemon, which may be writing."""
    if not home.outbox.exists():
        return
    try:
        database = sqlite3.connect(f"file:{quote(str(home.outbox))}?mode=ro", uri=True, isolation_level=None)
        try:
            yield from database.execute("SELECT id, channel, payload FROM item ORDER BY id")
        finally:
            database.close()
    except sqlite3.Error as error:
        raise HomeError(f"{home.outbox}: {error}; the outbox cannot be read") from error


def _signed(returned: Returned, home: AgentHome) -> bytes:
    try:
        key: Any = load_pem_private_key(home.identity.read_bytes(), None)
        signer = CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))
    except (OSError, ValueError) as error:
        raise HomeError(f"{home.identity}: {error}; the device must be enrolled again") from error
    envelope = Envelope(encode_signed(returned), RETURN_TYPE, {})
    envelope.sign(signer)
    return msgspec.json.encode(envelope.to_dict())


def _read_receipt(path: Path, home: AgentHome) -> Receipt:
    """Return a receipt that the director's online key has signed for this device."""
    trusted = home.metadata / "director" / "root.json"
    root = Metadata[Root].from_bytes((trusted if trusted.exists() else home.director_root).read_bytes()).signed
    role = root.roles[Timestamp.type]
    try:
        envelope = Envelope.from_dict(msgspec.json.decode(path.read_bytes()))
        envelope.verify([root.keys[keyid] for keyid in role.keyids], role.threshold)
        if envelope.payload_type != RECEIPT_TYPE:
            raise ValueError(f"it is of type {envelope.payload_type!r}")
        receipt = decode_signed(Receipt, envelope.payload)
    except (
        VerificationError,
        MessageRefusedError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise BundleNotInstalledError(f"{path}: it is no receipt of this device's registry: {error}") from error
    if receipt.device != home.settings().device:
        raise BundleNotInstalledError(f"{path}: it is for device {receipt.device!r}")
    return receipt
