"""Credentials: the device's key and certificate, in one file, so that a power cut leaves the old pair or the new one.

The key is made here and never leaves. The next key waits in a file of its own until its certificate has come.
"""

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from edge_agent.disk import write_atomic
from edge_agent.errors import HomeError, RenewalError
from edge_agent.settings import AgentHome
from protocols.enrolment import identity_name
from protocols.renewal import RenewalRequest, due_at, signed_part

_OWNER_ALONE = 0o600
Key = ec.EllipticCurvePrivateKey


def make_request(key: Key, site: str, device: str) -> str:
    """Return a PEM certificate request, signed by the key that it is for."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity_name(site, device))])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def check_certificate(pem: str, key: Key, site: str, device: str, authority: str) -> x509.Certificate:
    """Return a certificate that is for this key and device, and from this authority (PEM).

    Raises:
        RenewalError: it is not; the text says in what.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise RenewalError(f"the registry's certificate for this device cannot be read: {error}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise RenewalError("the registry's certificate is for another key; ask for a new token and try again")
    names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [identity_name(site, device)]:
        raise RenewalError(f"the registry's certificate is for {names}, and this is {identity_name(site, device)!r}")
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except Exception as error:  # ValueError, TypeError, InvalidSignature: none of them is this authority's
        raise RenewalError("the registry's certificate for this device is not from its own authority") from error
    return certificate


def write_pair(home: AgentHome, key: Key, certificate: str) -> None:
    """Put key and certificate in the place of those that are there, both at once."""
    write_atomic(home.identity, certificate.encode() + _pem(key), mode=_OWNER_ALONE)


class Credentials:
    """What this device shows. For one thread.

    Raises:
        HomeError: they are missing or damaged.
    """

    def __init__(self, home: AgentHome, site: str, device: str, clock: Callable[[], float]) -> None:
        self._home, self._site, self._device, self._clock = home, site, device, clock
        self._load()

    @property
    def due(self) -> bool:
        """Whether two thirds of the certificate's time are over."""
        return self._clock() >= due_at(self._begin, self._end)

    @property
    def expired(self) -> bool:
        return self._clock() >= self._end

    @property
    def life_s(self) -> float:
        return self._end - self._begin

    @property
    def expires_at(self) -> float:
        return self._end

    @property
    def begins_at(self) -> float:
        return self._begin

    def request(self) -> RenewalRequest:
        """Return a request for the next certificate; its key is made once, and kept until the certificate is here."""
        key = self._next_key()
        csr = make_request(key, self._site, self._device)
        request = RenewalRequest(f"{self._certificate.serial_number:x}", csr, b"")
        signature = self._key.sign(signed_part(self._site, self._device, request), ec.ECDSA(hashes.SHA256()))
        return RenewalRequest(request.serial, request.csr, signature)

    def accept(self, pem: str) -> None:
        """Take the next certificate into use.

        Raises:
            RenewalError: it is not the one that was asked for; all stays as it is.
        """
        if not self._home.next_key.exists():
            raise RenewalError("a certificate came that was not asked for")
        key = self._next_key()
        check_certificate(pem, key, self._site, self._device, self._home.ca.read_text())
        write_pair(self._home, key, pem)
        self._home.next_key.unlink()
        self._load()

    def _load(self) -> None:
        try:
            data = self._home.identity.read_bytes()
            key = load_pem_private_key(data, None)
            self._certificate = x509.load_pem_x509_certificate(data)
        except (OSError, ValueError, TypeError) as error:
            raise HomeError(f"{self._home.identity}: {error}; the device must be enrolled again") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise HomeError(f"{self._home.identity}: not an ECDSA key; the device must be enrolled again")
        self._key = key
        self._begin = self._certificate.not_valid_before_utc.timestamp()
        self._end = self._certificate.not_valid_after_utc.timestamp()

    def _next_key(self) -> Key:
        """Return the key that waits; one that a power cut left behind after it came into use counts no more."""
        try:
            found = load_pem_private_key(self._home.next_key.read_bytes(), None)
            if isinstance(found, ec.EllipticCurvePrivateKey) and found.public_key() != self._key.public_key():
                return found
        except (OSError, ValueError, TypeError):
            pass
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomic(self._home.next_key, _pem(key), mode=_OWNER_ALONE)
        return key


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
