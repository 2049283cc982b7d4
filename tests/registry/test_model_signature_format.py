"""The signature file's format, pinned: what is signed, how it is encoded, and by what it is checked."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from protocols.names import ReleaseRef
from registry.errors import ModelSignatureError
from registry.model_signature import public_pem, sign, signed_statement, statement

REF = ReleaseRef("press", 3)
DIGESTS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("release.json", "golden.npz", "model.onnx")}


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1())


def test_the_statement_lists_every_file_in_order_and_one_digest_over_them():
    names = ["golden.npz", "model.onnx", "release.json"]
    joined = b"".join(hashlib.sha256(name.encode()).digest() for name in names)
    assert statement(REF, DIGESTS) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "press@3", "digest": {"sha256": hashlib.sha256(joined).hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [{"name": name, "algorithm": "sha256", "digest": DIGESTS[name]} for name in names],
        },
    }


def test_the_file_is_a_sigstore_bundle_around_a_dsse_envelope(key):
    bundle = json.loads(sign(REF, DIGESTS, key))
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    hint = hashlib.sha256(public_pem(key).encode()).hexdigest()
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": hint}, "tlogEntries": []}
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload) == statement(REF, DIGESTS)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    (signature,) = envelope["signatures"]
    encoded = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    key.public_key().verify(base64.b64decode(signature["sig"]), encoded, ec.ECDSA(SHA256()))


def test_what_a_file_says_can_be_read_back_and_rubbish_cannot(key):
    assert signed_statement(sign(REF, DIGESTS, key)) == statement(REF, DIGESTS)
    for rubbish in (
        b"",
        b"{}",
        b"[" * 10_000,
        b'{"dsseEnvelope":{"payload":"!"}}',
        b'{"dsseEnvelope":{"payload":"/w=="}}',
    ):
        with pytest.raises(ModelSignatureError, match="not a model signature"):
            signed_statement(rubbish)
