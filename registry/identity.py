"""Identity: the registry's own certificate authority, which turns a device's request into its certificate.

HOME/ca/ca.pem is what devices and broker trust; its key is HOME/keys/ca.key. Towards the broker the registry shows
HOME/ca/registry.pem with registry.key, and believes brokers whose certificate comes from HOME/ca/broker-ca.pem.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from protocols.enrolment import identity_name
from registry.certificates import (
    Holder,
    PublicKey,
    build_authority,
    build_certificate,
    build_revocations,
    host_names,
    requested_key,
)
from registry.errors import NotInitialisedError
from registry.signing.metadata import Clock, write_atomic

#: What the registry is called towards the broker. A device's name holds a dot, so none can be called this.
SERVICE = "registry"
#: Life of the certificates of the registry's own service and of the servers: renewed by themselves at two thirds.
SERVER_LIFE = timedelta(days=365)
#: A revocation list is good for so long, and is written anew long before: an outdated one locks every device out.
REVOCATIONS_LIFE = timedelta(days=365)


class Certificate(msgspec.Struct, frozen=True):
    """A certificate, PEM, its serial number, hex, and when it ends, in seconds since the epoch."""

    pem: str
    serial: str
    expires_at: float

    @classmethod
    def of(cls, certificate: x509.Certificate) -> "Certificate":
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return cls(pem, f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp())


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
        if not self._path.exists():
            key = create_key(self._home / "keys" / "ca.key")
            write_atomic(self._path, _pem(build_authority(key, self._now)))
        if not (folder / "broker-ca.pem").exists():
            write_atomic(folder / "broker-ca.pem", self._read(self._path))
        self.renew_service()

    @property
    def pem(self) -> str:
        """The authority's certificate, which devices pin.

        Raises:
            NotInitialisedError: the home has none.
        """
        return self._read(self._path).decode()

    def sign(self, site: str, device: str, csr: str, life_s: float) -> Certificate:
        """Return a certificate for the device that asks. Nothing of its request but its key goes into it.

        Raises:
            CertificateRefusedError: unreadable, not signed by its key, for another name, or a weak key.
            NameRefusedError: device or site cannot be a topic level, or both are too long for a certificate.
        """
        name = identity_name(site, device)
        key = requested_key(csr, name)
        uri = x509.UniformResourceIdentifier(f"urn:genba:device:{site}:{device}")
        return self.issue(Holder(name, (uri,)), key, timedelta(seconds=life_s))

    def issue(self, holder: Holder, key: PublicKey, life: timedelta = SERVER_LIFE) -> Certificate:
        """Return a certificate for this holder and key."""
        certificate = build_certificate(holder, key, self._certificate, self._signer, self._now, life)
        return Certificate.of(certificate)

    def revocations(self, revoked: Sequence[tuple[str, float]]) -> bytes:
        """Return the signed revocation list, PEM: (serial number, when) of each certificate that is void."""
        signed = build_revocations(revoked, self._certificate, self._signer, self._now, REVOCATIONS_LIFE)
        return signed.public_bytes(Encoding.PEM)

    def signed(self, revocations: x509.CertificateRevocationList) -> bool:
        """Whether a revocation list is this authority's."""
        return revocations.is_signature_valid(self._signer.public_key())

    def renew_service(self) -> bool:
        """Make the registry's own certificate towards the broker, or make it anew once its time has come."""
        folder = self._home / "ca"
        return self.renew(folder / "registry.pem", folder / "registry.key", Holder(SERVICE))

    def renew_server(self, certificate: Path, key: Path, hosts: Sequence[str]) -> bool:
        """Make a server's certificate and key, or make them anew once their time has come or the hosts differ."""
        return self.renew(certificate, key, Holder(hosts[0][:64], host_names(hosts), "server"))

    def renew(self, path: Path, key_path: Path, holder: Holder) -> bool:
        """Keep a certificate and its key in files; True where they were written anew."""
        if self._good(path, key_path, holder):
            return False
        key = create_key(key_path)
        write_atomic(path, self.issue(holder, key.public_key()).pem.encode())
        return True

    def _good(self, path: Path, key_path: Path, holder: Holder) -> bool:
        """Whether a certificate is this holder's, of this authority, with its key beside it, and far from its end."""
        try:
            found = x509.load_pem_x509_certificate(path.read_bytes())
            key = load_pem_private_key(key_path.read_bytes(), None)
            found.verify_directly_issued_by(self._certificate)
        except Exception:  # unreadable in whatever way, or another authority's: it is made anew
            return False
        extensions = found.extensions.get_extension_for_class
        try:
            names = tuple(extensions(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = ()
        begin, end = found.not_valid_before_utc, found.not_valid_after_utc
        fresh = self._now < begin + (end - begin) * 2 / 3
        return fresh and names == holder.names and key.public_key() == found.public_key()

    @property
    def _path(self) -> Path:
        return self._home / "ca" / "ca.pem"

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    @property
    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._read(self._path))

    @property
    def _signer(self) -> ec.EllipticCurvePrivateKey:
        signer = load_pem_private_key(self._read(self._home / "keys" / "ca.key"), None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise NotInitialisedError(self._home)
        return signer

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotInitialisedError(self._home) from error


def create_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key and keep it in a file that its owner alone may read."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
