"""Enrolment: one-time tokens, the devices that use them, and the certificates that come after the first."""

from flask import Blueprint

from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust
from protocols.renewal import RenewalReply, RenewalRequest
from registry import enrolment as registry_enrolment
from registry.renewal import renew
from registry.web.context import caller, context
from registry.web.documents import TokenBody, TokenReply
from registry.web.operations import operation

enrolment = Blueprint("enrolment", __name__, url_prefix="/api/v1")


@enrolment.post("/devices/tokens")
@operation("Make a one-time enrolment token", "enrolment", body=TokenBody, reply=TokenReply, status=201, errors=(409,))
def create_token(body: TokenBody) -> TokenReply:
    """For a name that is enrolled, it must be asked for with `replace`: another machine then takes its place."""
    parts = context()
    ttl_s = body.ttl_s or parts.settings.enrolment_ttl_s
    expires_at = parts.clock() + ttl_s
    token = registry_enrolment.create_token(
        parts.home, parts.catalogue, body.device, body.site, ttl_s, parts.clock, replace=body.replace
    )
    parts.catalogue.events.record(
        "token-made",
        f"an enrolment token was made for {body.device} at {body.site}{', to replace it' if body.replace else ''}",
        detail={"by": caller(), "device": body.device},
    )
    return TokenReply(token, expires_at)


@enrolment.post("/enrol")
@operation(
    "Enrol a device with its one-time token",
    "enrolment",
    body=EnrolmentRequest,
    reply=EnrolmentReply,
    errors=(403, 409),
    needs_token=False,
)
def enrol(body: EnrolmentRequest) -> EnrolmentReply:
    """The token is the authority here: no API token is needed, and each works once."""
    parts = context()
    return registry_enrolment.enrol(parts.home, parts.catalogue, body, parts.broker_url, parts.clock)


@enrolment.get("/trust")
@operation("What a device pins; its enrolment token holds the fingerprint", "enrolment", reply=Trust, needs_token=False)
def get_trust() -> Trust:
    """No secret: a device asks for it before it believes this registry."""
    return registry_enrolment.trust(context().home, context().clock)


@enrolment.post("/devices/<device>/renewal")
@operation(
    "Give a device its next certificate",
    "enrolment",
    body=RenewalRequest,
    reply=RenewalReply,
    errors=(403, 404),
    needs_token=False,
)
def renew_certificate(device: str, body: RenewalRequest) -> RenewalReply:
    """The present key's signature is the authority here, even where its certificate has ended for a while."""
    parts = context()
    return RenewalReply(renew(parts.home, parts.catalogue, device, body, parts.clock))
