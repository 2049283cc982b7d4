"""Enrolment: a key pair made on the device, a certificate for it from the registry, the trust to pin."""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from edge_agent.disk import write_atomic
from edge_agent.errors import EnrolmentError
from edge_agent.settings import AgentHome
from protocols.broker import BrokerAddress
from protocols.enrolment import EnrolmentReply, EnrolmentRequest, parse_token
from protocols.names import check_name

_REPLY_LIMIT_BYTES = 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def enrol(
    home: AgentHome,
    *,
    registry: str,
    token: str,
    device: str,
    site: str,
    profile: str,
    probe: Mapping[str, Any],
    timeout_s: float = 30.0,
) -> None:
    """Enrol this device and write its home; nothing is written before the registry has shown who it is.

    Raises:
        EnrolmentError: enrolled already, registry unreachable, token refused, or not the registry that the token
            leads to.
        NameRefusedError, MessageRefusedError: a name or the token cannot be one.
    """
    check_name("device", device)
    check_name("site", site)
    secret, fingerprint = parse_token(token)
    if home.enrolled:
        raise EnrolmentError(f"{home.folder} is enrolled already; give another --home, or delete it to enrol anew")
    url = _enrol_url(registry)
    key = ec.generate_private_key(ec.SECP256R1())
    request = EnrolmentRequest(secret, device, site, profile, _signing_request(key, f"{site}.{device}"), dict(probe))
    reply = _ask(url, request, timeout_s)
    if reply.trust.fingerprint != fingerprint:
        raise EnrolmentError(
            f"{registry} is not the registry that made this token (its trust differs); check the address, "
            "and that nothing between here and there answers in its place"
        )
    _check_certificate(reply.certificate, key)
    BrokerAddress.parse(reply.broker_url)
    _write_home(
        home, key, reply, {"device": device, "site": site, "profile": profile, "registry_url": registry.rstrip("/")}
    )


def _enrol_url(registry: str) -> str:
    parts = urlsplit(registry)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EnrolmentError(f"--registry {registry!r} is not an address; write https://registry.example:8443")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise EnrolmentError(f"--registry {registry!r} would send the token unencrypted; use https://")
    return registry.rstrip("/") + "/api/v1/enrol"


def _signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could take the token somewhere else, unencrypted."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _ask(url: str, request: EnrolmentRequest, timeout_s: float) -> EnrolmentReply:
    message = urllib.request.Request(  # noqa: S310 - the scheme is checked in _enrol_url
        url, msgspec.json.encode(request), {"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(message, timeout=timeout_s) as response:
            data = response.read(_REPLY_LIMIT_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise EnrolmentError(_refusal(url, error.code, error.read(_REPLY_LIMIT_BYTES))) from error
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise EnrolmentError(
            f"the registry at {url} cannot be reached: {reason}; check the address and that the registry runs"
        ) from error
    try:
        return msgspec.json.decode(data, type=EnrolmentReply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnrolmentError(f"{url} did not answer as a Genba registry does: {error}") from error


class _Problem(msgspec.Struct):
    """problem+json."""

    title: str = ""
    detail: str = ""


def _refusal(url: str, status: int, body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
        said = problem.detail or problem.title
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    if status in (401, 403, 410):
        return f"the token was refused: {said or 'unknown, used or expired'}; have the registry make a new one"
    return f"{url} answered {status}: {said or 'no reason given'}"


def _check_certificate(pem: str, key: ec.EllipticCurvePrivateKey) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise EnrolmentError(f"the registry's certificate for this device cannot be read: {error}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise EnrolmentError("the registry's certificate is for another key; ask for a new token and try again")


def _write_home(home: AgentHome, key: ec.EllipticCurvePrivateKey, reply: EnrolmentReply, names: dict[str, str]) -> None:
    """Write everything, agent.toml last: it is what makes the home an enrolled one."""
    try:
        home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomic(home.key, pem, mode=0o600)
        write_atomic(home.certificate, reply.certificate.encode())
        write_atomic(home.ca, reply.trust.ca.encode())
        write_atomic(home.image_root, reply.trust.image_root)
        write_atomic(home.director_root, reply.trust.director_root)
        home.write_settings({**names, "broker_url": reply.broker_url})
    except OSError as error:
        raise EnrolmentError(
            f"{error.filename or home.folder}: {error.strerror}; give a --home that can be written, and a new token"
        ) from error


def check_writable(folder: Path) -> None:
    """Raise before a token is spent on a home that cannot be written.

    Raises:
        EnrolmentError: it cannot.
    """
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise EnrolmentError(f"--home {folder}: {nearest} cannot be written; choose another folder or user")
