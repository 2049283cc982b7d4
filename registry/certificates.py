"""Certificates as they must be: what goes into each kind, what a request must prove, and the revocation list.

Pure: keys and the time are arguments. Source: RFC 5280, "Internet X.509 Public Key Infrastructure Certificate and
Certificate Revocation List (CRL) Profile".
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.errors import CertificateRefusedError

AUTHORITY_LIFE = timedelta(days=3650)
#: A certificate begins so long before it is issued (less, if its life is short): clocks that are behind take it.
CLOCK_SLACK = timedelta(hours=1)
_REQUEST_LIMIT = 16 * 1024

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
GeneralName = x509.DNSName | x509.IPAddress | x509.UniformResourceIdentifier
#: What a certificate is good for, and for nothing else.
Use = Literal["client", "server", "model-signature"]
_USES = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "model-signature": ExtendedKeyUsageOID.CODE_SIGNING,
}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a certificate is for. One for a server never passes for a client's, nor one that signs models for either."""

    common_name: str
    names: tuple[GeneralName, ...] = ()
    use: Use = "client"


def host_names(hosts: Iterable[str]) -> tuple[GeneralName, ...]:
    """Return host names and addresses as a certificate carries them."""
    names: list[GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return tuple(names)


def build_authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return a self-signed authority that may sign certificates of clients and servers, and no further authority."""
    name = _name("Genba registry")
    builder = _begin(name, name, key.public_key(), key, now, AUTHORITY_LIFE)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def build_certificate(
    holder: Holder,
    key: PublicKey,
    issuer: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    """Return a certificate for its one use; nothing of a request but its key ever goes into one."""
    builder = (
        _begin(_name(holder.common_name), issuer.subject, key, signer, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USES[holder.use]]), critical=True)
    )
    if holder.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(holder.names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def build_revocations(
    revoked: Sequence[tuple[str, float]],
    issuer: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateRevocationList:
    """Return the signed list of revoked certificates: serial number (hex), and when, in seconds since the epoch."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - CLOCK_SLACK)
        .next_update(now + life)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
    )
    for serial, at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
        builder = builder.add_revoked_certificate(entry.revocation_date(datetime.fromtimestamp(int(at), UTC)).build())
    return builder.sign(signer, hashes.SHA256())


def requested_key(csr: str, common_name: str) -> PublicKey:
    """Return the public key of a PEM certificate request, after it has proven that the private key is there.

    Raises:
        CertificateRefusedError: unreadable, not signed by its key, for another name, or a weak key.
    """
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
    if names != [common_name]:
        raise CertificateRefusedError(
            f"csr: its common name is {names!r}, and for this device it must be {common_name!r}"
        )
    strong = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1))
        or (isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096)
    )
    if not strong or not isinstance(key, PublicKey):
        raise CertificateRefusedError(
            "csr: its key must be ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits"
        )
    return key


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - min(CLOCK_SLACK, life / 24))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
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
