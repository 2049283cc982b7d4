"""Model signatures over REST: by the registry's own key for them, which never leaves its home."""

import base64
import stat
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry.model_signature import BUNDLE_TYPE, signed_statement, statement
from registry.signature_key import SignatureKey

PLACE = "/models/ccpp/releases/1/signature"


def authentic(bundle, public):
    """Check the envelope's signature; raises where it is another key's."""
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    encoded = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded, ec.ECDSA(SHA256()))


def test_a_release_is_signed_by_the_key_that_can_be_downloaded(api, catalogue, published):
    answer = api("POST", PLACE, {})
    assert (answer.status_code, answer.content_type) == (200, BUNDLE_TYPE)
    authentic(answer.json, load_pem_public_key(api("GET", "/model-signature/key.pem").data))
    release = catalogue.releases.get(published.release)
    digests = {name: info.sha256 for name, info in release.files.items()}
    assert sorted(digests) == ["golden.npz", "model.onnx", "reference", "release.json"]
    assert signed_statement(answer.data) == statement(published.release, digests)


def test_the_registry_s_authority_vouches_for_the_key_as_a_signer_and_as_nothing_else(api, published):
    bundle = api("POST", PLACE, {"proof": "certificate"}).json
    (found,) = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(found["rawBytes"]))
    authentic(bundle, certificate.public_key())
    authority = x509.load_pem_x509_certificate(api("GET", "/model-signature/authority.pem").data)
    certificate.verify_directly_issued_by(authority)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING], "no broker takes it for a client, nobody for a server"


def test_signing_needs_the_token_and_leaves_a_trace(api, anonymous, catalogue, published):
    assert anonymous("POST", PLACE, {}).status_code == 401
    assert not [event for event in catalogue.events.list() if event.kind == "model-signature"]
    assert api("POST", PLACE, {"proof": "certificate"}).status_code == 200
    (event,) = [event for event in catalogue.events.list() if event.kind == "model-signature"]
    assert (event.model, event.version) == ("ccpp", 1)
    assert event.detail == {"by": "operator", "proof": "certificate"}


@pytest.mark.parametrize(
    ("place", "body", "status"),
    [
        ("/models/ccpp/releases/9/signature", {}, 404),
        ("/models/other/releases/1/signature", {}, 404),
        (PLACE, {"proof": "a promise"}, 400),
        (PLACE, {"key": "mine"}, 400),
    ],
)
def test_what_cannot_be_signed_is_a_problem(api, published, place, body, status):
    answer = api("POST", place, body)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def test_the_key_is_the_owner_s_alone_and_the_same_for_all_who_ask_at_once(home):
    found, start = [], threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(SignatureKey(home, lambda: 0.0).public_pem)

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert (len(found), len(set(found))) == (8, 1)
    path = home / "keys" / "model-signature.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.suffix != ".pem", "keys that sign what devices trust end so"
