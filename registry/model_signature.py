"""Model signatures as OpenSSF model signing writes them: for those who check a release with tools other than Genba.

A signature is a Sigstore bundle: a DSSE envelope around an in-toto statement that lists every file's digest, and the
certificates that vouch for the key or the key's digest. `model_signing verify key|certificate` accepts it. Devices do
not read it: what they trust is the TUF metadata.

Source: https://github.com/sigstore/model-transparency, predicate type v1.0; DSSE protocol 1.0.0.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate
from securesystemslib.dsse import Envelope

from protocols.names import ReleaseRef
from registry.errors import ModelSignatureError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: The curves that the format knows, each with the digest that belongs to it.
CURVES: dict[str, HashAlgorithm] = {"secp256r1": SHA256(), "secp384r1": SHA384(), "secp521r1": SHA512()}


def sign(
    release: ReleaseRef,
    digests: Mapping[str, str],
    key: EllipticCurvePrivateKey,
    certificates: Sequence[Certificate] = (),
) -> bytes:
    """Return the signature file of a release.

    Args:
        digests: SHA-256 (hex) of every file of its folder, by name.
        key: P-256, P-384 or P-521; see CURVES.
        certificates: the key's own first, then those between it and the root that verifiers trust; none: they are
            given the public key.

    Raises:
        ModelSignatureError: the key is of another kind, or the first certificate is another key's.
    """
    algorithm = CURVES.get(key.curve.name)
    if algorithm is None:
        raise ModelSignatureError(f"the key is on the curve {key.curve.name}; use one of {', '.join(CURVES)}")
    if certificates and certificates[0].public_key() != key.public_key():
        raise ModelSignatureError(
            "the first certificate is not the signing key's; give that one first, then its issuers"
        )
    payload = msgspec.json.encode(statement(release, digests))
    signature = key.sign(Envelope(payload, PAYLOAD_TYPE, {}).pae(), ECDSA(algorithm))
    return msgspec.json.encode(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {**_material(key, certificates), "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def statement(release: ReleaseRef, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return what is signed: each file of the release with its digest, and one digest over them all."""
    listed = sorted(digests.items())
    whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    resources = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in listed]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": str(release), "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


class _Payload(msgspec.Struct):
    payload: bytes


class _Bundle(msgspec.Struct, rename="camel"):
    dsse_envelope: _Payload


def signed_statement(bundle: bytes) -> Any:
    """Return what a signature file says, unverified.

    Raises:
        ModelSignatureError: it is no signature file.
    """
    try:
        return msgspec.json.decode(msgspec.json.decode(bundle, type=_Bundle).dsse_envelope.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelSignatureError(f"not a model signature: {error}") from error


def _material(key: EllipticCurvePrivateKey, certificates: Sequence[Certificate]) -> dict[str, Any]:
    if certificates:
        chain = [{"rawBytes": base64.b64encode(each.public_bytes(Encoding.DER)).decode()} for each in certificates]
        return {"x509CertificateChain": {"certificates": chain}}
    return {"publicKey": {"hint": hashlib.sha256(public_pem(key).encode()).hexdigest()}}


def public_pem(key: EllipticCurvePrivateKey) -> str:
    """Return the public half as verifiers take it; a signature's hint is the SHA-256 of this text."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
