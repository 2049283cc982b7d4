"""Trust: who may sign what, what waits for signatures, and what will soon be too late."""

from flask import Blueprint

from registry.signing.ceremony import TrustState, trust_state
from registry.signing.exchange import RequestFiles, Taken, request_files, take_signatures
from registry.web.context import context
from registry.web.operations import operation

trust = Blueprint("trust", __name__, url_prefix="/api/v1/trust")


@trust.get("")
@operation("The signing keys and what waits for them", "trust", reply=TrustState)
def get_trust() -> TrustState:
    """Keys are changed on the registry's own machine alone: `genba registry keys`."""
    return trust_state(context().home, context().clock)


@trust.get("/request")
@operation("What waits for signatures, to be signed elsewhere", "trust", reply=RequestFiles)
def get_request() -> RequestFiles:
    """The files that `genba registry keys export` writes; none where nothing waits."""
    return request_files(context().home, context().clock)


@trust.post("/signatures")
@operation("Give signatures", "trust", body=RequestFiles, reply=Taken, errors=(409,))
def post_signatures(body: RequestFiles) -> Taken:
    """The staged files with signatures added. Only signatures of keys that count, over what waits now, are taken."""
    return take_signatures(context().home, body, context().clock)
