"""Enrolment: a key pair made on the device, a certificate for it from the registry, the trust to pin."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.disk import write_atomic
from edge_agent.errors import EnrolmentError, RegistryCallError, RenewalError
from edge_agent.key_pairs import Key, check_certificate, make_request, write_pair
from edge_agent.rest import Rest
from edge_agent.settings import AgentHome
from protocols.broker import BrokerAddress
from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust, identity_name, parse_token


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
    """Enrol this device and write its home; nothing is sent or written before the registry has shown who it is.

    Raises:
        EnrolmentError: enrolled already, registry unreachable, token refused, or not the registry that the token
            leads to.
        NameRefusedError, MessageRefusedError: a name or the token cannot be one.
    """
    identity_name(site, device)
    secret, fingerprint = parse_token(token)
    if home.enrolled:
        raise EnrolmentError(f"{home.folder} is enrolled already; give another --home, or delete it to enrol anew")
    key = ec.generate_private_key(ec.SECP256R1())
    request = EnrolmentRequest(secret, device, site, profile, make_request(key, site, device), dict(probe))
    try:
        trust = _proven_trust(registry, fingerprint, timeout_s)
        reply = Rest(registry, trust.ca, timeout_s=timeout_s).post("/enrol", request, EnrolmentReply)
        check_certificate(reply.certificate, key, site, device, trust.ca)
    except (RegistryCallError, RenewalError) as error:
        raise EnrolmentError(_refusal(error)) from error
    BrokerAddress.parse(reply.broker_url)
    names = {"device": device, "site": site, "profile": profile, "registry_url": registry.rstrip("/")}
    _write_home(home, key, reply, trust, names)


def _proven_trust(registry: str, fingerprint: str, timeout_s: float) -> Trust:
    """Return the registry's trust, after it has shown to be what the token leads to.

    Whoever answers may be asked for it, because nobody else has a trust of that fingerprint; what it holds then proves
    the registry's own certificate, before the token is sent.
    """
    trust = Rest(registry, None, timeout_s=timeout_s).get("/trust", Trust)
    if trust.fingerprint != fingerprint:
        raise EnrolmentError(
            f"{registry} is not the registry that made this token (its trust differs); check the address, "
            "and that nothing between here and there answers in its place"
        )
    return trust


def _refusal(error: RegistryCallError | RenewalError) -> str:
    if isinstance(error, RegistryCallError) and error.status in (401, 403, 410):
        return f"the token was refused: {error.said}"
    return str(error)


def _write_home(home: AgentHome, key: Key, reply: EnrolmentReply, trust: Trust, names: dict[str, str]) -> None:
    """Write everything, agent.toml last: it is what makes the home an enrolled one."""
    try:
        home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_pair(home, key, reply.certificate)
        write_atomic(home.ca, trust.ca.encode())
        write_atomic(home.image_root, trust.image_root)
        write_atomic(home.director_root, trust.director_root)
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
