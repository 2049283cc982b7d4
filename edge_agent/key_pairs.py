"""Key pairs and certificates: made, asked for and checked. What it takes stays in memory once it was imported."""

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
from protocols.renewal import RenewalRequest, signed_part

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


def next_request(home: AgentHome, site: str, device: str) -> RenewalRequest:
    """Return a request for the next certificate; its key is made once, and kept until the certificate is here.

    Raises:
        HomeError: the present pair is missing or damaged.
    """
    present, certificate = read_pair(home)
    csr = make_request(_next_key(home, present), site, device)
    request = RenewalRequest(f"{certificate.serial_number:x}", csr, b"")
    signature = present.sign(signed_part(site, device, request), ec.ECDSA(hashes.SHA256()))
    return RenewalRequest(request.serial, request.csr, signature)


def take_certificate(home: AgentHome, site: str, device: str, pem: str) -> None:
    """Put the next certificate, and the key that waits for it, in the place of the present pair.

    Raises:
        RenewalError: it is not the one that was asked for; all stays as it is.
        HomeError: the present pair is missing or damaged.
    """
    if not home.next_key.exists():
        raise RenewalError("a certificate came that was not asked for")
    key = _next_key(home, read_pair(home)[0])
    check_certificate(pem, key, site, device, home.ca.read_text())
    write_pair(home, key, pem)
    home.next_key.unlink()


def read_pair(home: AgentHome) -> tuple[Key, x509.Certificate]:
    """Return what this device shows.

    Raises:
        HomeError: it is missing or damaged.
    """
    try:
        data = home.identity.read_bytes()
        key = load_pem_private_key(data, None)
        certificate = x509.load_pem_x509_certificate(data)
    except (OSError, ValueError, TypeError) as error:
        raise HomeError(f"{home.identity}: {error}; the device must be enrolled again") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise HomeError(f"{home.identity}: not an ECDSA key; the device must be enrolled again")
    return key, certificate


def _next_key(home: AgentHome, present: Key) -> Key:
    """Return the key that waits; one that a power cut left behind after it came into use counts no more."""
    try:
        found = load_pem_private_key(home.next_key.read_bytes(), None)
        if isinstance(found, ec.EllipticCurvePrivateKey) and found.public_key() != present.public_key():
            return found
    except (OSError, ValueError, TypeError):
        pass
    key = ec.generate_private_key(ec.SECP256R1())
    write_atomic(home.next_key, _pem(key), mode=_OWNER_ALONE)
    return key


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
