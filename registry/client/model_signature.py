"""Model signatures as OpenSSF model signing writes them: for those who check a release with tools other than Genba.

A signature is a Sigstore bundle: a DSSE envelope around an in-toto statement that lists every file's digest, and the
certificates that vouch for the key or the key's digest. `model_signing verify key|certificate` accepts it. Devices do
not read it: what they trust is the TUF metadata.

Source: https://github.com/sigstore/model-transparency, predicate type v1.0; DSSE protocol 1.0.0.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate

from protocols.errors import ManifestError
from protocols.manifest import Manifest, decode_manifest
from registry.errors import ModelSignatureError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: The curves that the format knows, each with the digest that belongs to it.
CURVES: dict[str, HashAlgorithm] = {"secp256r1": SHA256(), "secp384r1": SHA384(), "secp521r1": SHA512()}
_MANIFEST = "release.json"


def sign_release(folder: Path, key: EllipticCurvePrivateKey, certificates: Sequence[Certificate] = ()) -> bytes:
    """Return the signature file of a release folder.

    Args:
        key: P-256, P-384 or P-521; see CURVES.
        certificates: the key's own first, then those between it and the root that verifiers trust; none: they are
            given the public key.

    Raises:
        ModelSignatureError: the folder is not a whole release, or the first certificate is another key's.
    """
    algorithm = CURVES.get(key.curve.name)
    if algorithm is None:
        raise ModelSignatureError(f"the key is on the curve {key.curve.name}; use one of {', '.join(CURVES)}")
    if certificates and certificates[0].public_key() != key.public_key():
        raise ModelSignatureError(
            "the first certificate is not the signing key's; give that one first, then its issuers"
        )
    payload = msgspec.json.encode(statement(folder))
    signature = key.sign(_pre_authentication(payload), ECDSA(algorithm))
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


def statement(folder: Path) -> dict[str, Any]:
    """Return what is signed: each file of the release with its digest, and one digest over them all.

    Raises:
        ModelSignatureError: a file is missing, too many, or not the one that release.json describes.
    """
    manifest = _read_manifest(folder)
    digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    wanted = {name: info.sha256 for name, info in manifest.files.items()} | {_MANIFEST: digests[_MANIFEST]}
    wrong = sorted(name for name in digests.keys() | wanted.keys() if digests.get(name) != wanted.get(name))
    if wrong:
        raise ModelSignatureError(
            f"{folder}: {wrong[0]} {_fault(wrong[0], digests, wanted)}; only a release as it was published is signed"
        )
    whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values())).hexdigest()
    resources = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in digests.items()]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": str(manifest.release), "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = decode_manifest((folder / _MANIFEST).read_bytes())
    except OSError as error:
        raise ModelSignatureError(f"{folder} is no release folder ({_MANIFEST}: {error.strerror})") from error
    except ManifestError as error:
        raise ModelSignatureError(f"{folder}: {error}") from error
    if not manifest.version:
        raise ModelSignatureError(f"{folder} is a candidate, not a release; publish it first")
    return manifest


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise ModelSignatureError(f"{path} is not a plain file; a release folder holds nothing else")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(name: str, found: dict[str, str], wanted: dict[str, str]) -> str:
    if name not in found:
        return "is missing"
    return "was changed" if name in wanted else f"is not among the files of {_MANIFEST}"


def _material(key: EllipticCurvePrivateKey, certificates: Sequence[Certificate]) -> dict[str, Any]:
    if certificates:
        chain = [{"rawBytes": base64.b64encode(each.public_bytes(Encoding.DER)).decode()} for each in certificates]
        return {"x509CertificateChain": {"certificates": chain}}
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {"publicKey": {"hint": hashlib.sha256(pem).hexdigest()}}


def _pre_authentication(payload: bytes) -> bytes:
    """DSSE's encoding, under which a payload of one type cannot pass for one of another."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
