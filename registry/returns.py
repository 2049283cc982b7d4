"""Returns: what an air-gapped device recorded comes in by a stick, and is counted once, whatever MQTT brought."""

from pathlib import Path

import msgspec
from cryptography import x509
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, SSlibKey

from protocols.enrolment import identity_name
from protocols.returns import RECEIPT_TYPE, RETURN_TYPE, Receipt, Returned, decode_signed, encode_signed
from protocols.topics import DeviceTopics
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.errors import ReturnRefusedError
from registry.mqtt.ingest import Ingest, Stored
from registry.signing.director import DirectorRepository
from registry.signing.metadata import Clock


def take(home: Path, catalogue: Catalogue, data: bytes, clock: Clock) -> tuple[Receipt, bytes]:
    """Store what an envelope brings, by the rules of what MQTT brings; return the receipt, and it signed.

    Raises:
        ReturnRefusedError: not signed by the key of an enrolled device's certificate, or no envelope at all.
        UnknownDeviceError: the device is not enrolled here.
    """
    returned = _verified(catalogue, data)
    ingest = Ingest(catalogue, clock)
    ids: list[int] = []
    for message in returned.messages:
        stored = ingest.take(DeviceTopics(returned.site, returned.device).up(message.channel), message.payload)
        if isinstance(stored, Stored):
            ids.extend(stored.ids)
    receipt = Receipt(returned.device, tuple(ids))
    envelope = Envelope(encode_signed(receipt), RECEIPT_TYPE, {})
    DirectorRepository(home, clock).sign_envelope(envelope)
    return receipt, msgspec.json.encode(envelope.to_dict())


def _verified(catalogue: Catalogue, data: bytes) -> Returned:
    try:
        envelope = Envelope.from_dict(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        raise ReturnRefusedError("it is no signed envelope") from None
    if envelope.payload_type != RETURN_TYPE:
        raise ReturnRefusedError(f"it is of type {str(envelope.payload_type)[:60]!r}, not {RETURN_TYPE!r}")
    returned = decode_signed(Returned, envelope.payload)
    device = catalogue.devices.get(returned.device)
    if device.revoked_at is not None:
        raise ReturnRefusedError(f"device {device.name!r} is locked out; nothing of it is taken")
    try:
        envelope.verify(_keys(catalogue, device), 1)
    except VerificationError:
        raise ReturnRefusedError(f"it is not signed with the key of device {device.name!r}") from None
    if returned.site != device.site:
        raise ReturnRefusedError(f"device {device.name!r} is enrolled at {device.site!r}, not at {returned.site!r}")
    return returned


def _keys(catalogue: Catalogue, device: Device) -> list[Key]:
    """Return the keys of all certificates that are not void: it may not have heard of its newest yet."""
    held = catalogue.certificates.of(identity_name(device.site, device.name))
    good = {device.certificate, *(one.pem for one in held if one.revoked_at is None)}
    try:
        return [SSlibKey.from_crypto(x509.load_pem_x509_certificate(pem.encode()).public_key()) for pem in good]
    except ValueError as error:
        raise ReturnRefusedError(f"the certificate of device {device.name!r} cannot be read: {error}") from error
