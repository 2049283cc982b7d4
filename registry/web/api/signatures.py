"""Model signatures: a release's signature for tools other than Genba, and what they check it with."""

from typing import Any

from flask import Blueprint, Response

from protocols.names import ReleaseRef
from registry.model_signature import BUNDLE_TYPE
from registry.signature_key import SignatureKey
from registry.web.context import caller, context
from registry.web.documents import SignatureBody
from registry.web.operations import operation

signatures = Blueprint("signatures", __name__, url_prefix="/api/v1")

PEM = "application/x-pem-file"


@signatures.post("/models/<model>/releases/<int:version>/signature")
@operation(
    "Sign a release for others",
    "signatures",
    body=SignatureBody,
    reply=dict[str, Any],
    reply_media=BUNDLE_TYPE,
    errors=(404,),
)
def post_signature(model: str, version: int, body: SignatureBody) -> Response:
    """An OpenSSF model signature (a Sigstore bundle) over the release's folder, by the registry's key for this purpose.

    `model_signing verify key` or `verify certificate` checks it. An export: no device reads it, and it changes nothing
    in what devices trust.
    """
    parts = context()
    release = parts.catalogue.releases.get(ReleaseRef(model, version))
    signature = SignatureKey(parts.home, parts.clock).sign(release, body.proof)
    parts.catalogue.events.record(
        "model-signature",
        f"{release.ref} was signed for tools that check OpenSSF model signatures",
        model=model,
        version=version,
        detail={"by": caller(), "proof": body.proof},
    )
    return Response(signature, content_type=BUNDLE_TYPE)


@signatures.get("/model-signature/key.pem")
@operation("The public key that checks model signatures", "signatures", reply_media=PEM)
def get_key() -> Response:
    """For `model_signing verify key --public_key`. Take it from the registry itself, not from beside a signature."""
    parts = context()
    return Response(SignatureKey(parts.home, parts.clock).public_pem, content_type=PEM)


@signatures.get("/model-signature/authority.pem")
@operation("The certificate authority that vouches for the key", "signatures", reply_media=PEM)
def get_authority() -> Response:
    """For `model_signing verify certificate --certificate_chain`."""
    parts = context()
    return Response(SignatureKey(parts.home, parts.clock).authority_pem, content_type=PEM)
