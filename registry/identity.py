"""Identity: the registry's own certificate authority, which turns a device's request into its certificate.

HOME/ca/ca.pem is what devices and broker trust; its key is HOME/keys/ca.key. Towards the broker the registry shows
HOME/ca/registry.pem with registry.key, and believes brokers whose certificate comes from HOME/ca/broker-ca.pem.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocols.enrolment import EnrolmentRequest
from protocols.names import check_name
from registry.errors import CertificateRefusedError, NotInitialisedError
from registry.signing.metadata import Clock, write_atomic

CERTIFICATE_LIFE = timedelta(days=365)
AUTHORITY_LIFE = timedelta(days=3650)
#: A device whose clock is behind by less than this still takes its new certificate.
CLOCK_SLACK = timedelta(hours=1)
_REQUEST_LIMIT = 16 * 1024


class Certificate(msgspec.Struct, frozen=True):
    """A device's certificate, PEM, and its serial number, hex."""

    pem: str
    serial: str


class Authority:
    """The certificate authority of one registry's home."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._clock = clock

    def create(self) -> None:
        """Make the authority and the registry's own certificate; what is there already stays."""
        folder = self._home / "ca"
        for private in (folder, self._home / "keys"):
            private.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._certificate.exists():
            key = _create_key(self._home / "keys" / "ca.key")
            name = _name("Genba registry")
            write_atomic(self._certificate, _pem(self._build(name, name, key.public_key(), key, authority=True)))
        if not (folder / "broker-ca.pem").exists():
            write_atomic(folder / "broker-ca.pem", self._read(self._certificate))
        if not (folder / "registry.pem").exists():
            key = _create_key(folder / "registry.key")
            write_atomic(folder / "registry.pem", _pem(self._issue("registry", key.public_key())))

    @property
    def pem(self) -> str:
        """The authority's certificate, which devices pin.

        Raises:
            NotInitialisedError: the home has none.
        """
        return self._read(self._certificate).decode()

    def sign(self, request: EnrolmentRequest) -> Certificate:
        """Return a certificate for the device that asks. Nothing of its request but key and name goes into it.

        Raises:
            CertificateRefusedError: unreadable, not signed by its key, for another name, or a weak key.
            NameRefusedError: device or site cannot be a topic level.
        """
        name = f"{check_name('site', request.site)}.{check_name('device', request.device)}"
        key = _checked_key(request.csr, name)
        certificate = self._issue(name, key)
        return Certificate(_pem(certificate).decode(), f"{certificate.serial_number:x}")

    @property
    def _certificate(self) -> Path:
        return self._home / "ca" / "ca.pem"

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotInitialisedError(self._home) from error

    def _issue(self, name: str, key: "DeviceKey") -> x509.Certificate:
        signer = load_pem_private_key(self._read(self._home / "keys" / "ca.key"), None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise NotInitialisedError(self._home)
        issuer = x509.load_pem_x509_certificate(self._read(self._certificate)).subject
        return self._build(_name(name), issuer, key, signer, authority=False)

    def _build(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: "DeviceKey",
        signer: ec.EllipticCurvePrivateKey,
        *,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.fromtimestamp(self._clock(), UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SLACK)
            .not_valid_after(now + (AUTHORITY_LIFE if authority else CERTIFICATE_LIFE))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
            .add_extension(_usage(authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if not authority:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return builder.sign(signer, hashes.SHA256())


DeviceKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def _checked_key(csr: str, name: str) -> DeviceKey:
    if len(csr) > _REQUEST_LIMIT:
        raise CertificateRefusedError(f"csr: {len(csr)} characters, and {_REQUEST_LIMIT} are allowed")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        valid = request.is_signature_valid
        key = request.public_key()
    except Exception as error:  # the parser raises ValueError, UnsupportedAlgorithm and errors of its own
        raise CertificateRefusedError(f"csr: not a PEM certificate request: {error}") from error
    if not valid:
        raise CertificateRefusedError("csr: it is not signed by the key inside it; make it anew")
    names = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [name]:
        raise CertificateRefusedError(f"csr: its common name is {names!r}, and for this device it must be {name!r}")
    strong = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1))
        or (isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096)
    )
    if not strong or not isinstance(key, DeviceKey):
        raise CertificateRefusedError(
            "csr: its key must be ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits"
        )
    return key


def _create_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(path, pem)
    return key


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
